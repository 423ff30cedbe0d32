//! Grafana's JSON of a dashboard (schema 39, Grafana 11 and later): a grid of two panels a row, four where they are
//! numbers; a data source to choose, so that nobody edits a fixed one; and namespaces to choose from.

use serde_json::{Value, json};

use crate::dashboards::{Dashboard, Kind, Panel};

/// Columns of Grafana's grid.
const COLUMNS: u32 = 24;

impl Dashboard {
    /// What Grafana imports.
    pub fn grafana(&self) -> Value {
        let mut place = Place::default();
        let panels: Vec<Value> =
            (1_u32..).zip(&self.panels).map(|(id, panel)| panel.grafana(id, place.next(panel.kind))).collect();
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["tintype"],
            "schemaVersion": 39,
            "editable": true,
            "refresh": "30s",
            "time": { "from": "now-6h", "to": "now" },
            "templating": { "list": [
                { "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus" },
                {
                    "name": "ns", "label": "Namespace", "type": "query", "datasource": datasource(),
                    "query": "label_values({__name__=~\"tintype_.+\"}, namespace)",
                    "includeAll": true, "allValue": ".*", "multi": true, "refresh": 2,
                    "current": { "text": "All", "value": "$__all" },
                },
            ] },
            "panels": panels,
        })
    }
}

impl Panel {
    fn grafana(&self, id: u32, place: Value) -> Value {
        let targets: Vec<Value> = ('A'..)
            .zip(&self.queries)
            .map(|(name, query)| {
                json!({
                    "refId": name.to_string(),
                    "datasource": datasource(),
                    "expr": query.expr.replace("$i", "$__rate_interval"),
                    "legendFormat": query.legend,
                    "instant": self.kind != Kind::Time,
                    "range": self.kind == Kind::Time,
                    "format": if self.kind == Kind::Table { "table" } else { "time_series" },
                })
            })
            .collect();
        json!({
            "id": id,
            "type": match self.kind {
                Kind::Time => "timeseries",
                Kind::Stat => "stat",
                Kind::Bars => "bargauge",
                Kind::Table => "table",
            },
            "title": self.title,
            "description": self.description,
            "datasource": datasource(),
            "gridPos": place,
            "fieldConfig": { "defaults": { "unit": self.unit, "min": 0 }, "overrides": [] },
            "targets": targets,
        })
    }
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "$datasource" })
}

/// Where the next panel goes.
#[derive(Default)]
struct Place {
    x: u32,
    y: u32,
    row: u32,
}

impl Place {
    fn next(&mut self, kind: Kind) -> Value {
        let (width, height) = if kind == Kind::Stat { (6, 4) } else { (12, 8) };
        if self.x + width > COLUMNS {
            self.x = 0;
            self.y += self.row;
            self.row = 0;
        }
        let place = json!({ "x": self.x, "y": self.y, "w": width, "h": height });
        self.x += width;
        self.row = self.row.max(height);
        place
    }
}
