//! Reading a trace: a CSV file with the columns of Alibaba's GenTD26 (`clusterdata`, cluster-trace-v2026-GenAI). Other
//! columns are ignored, and so is the order of the columns.

use crate::time;

/// Most rows of a trace. Twenty times the published one; each takes some 64 bytes.
const ROWS_MAX: usize = 1_000_000;
/// Most steps or pictures of one row that are believed.
const COUNT_MAX: f64 = 10_000.0;

const ARRIVED: &str = "gmt_create";
const STEPS: &str = "num_inference_steps";
const IMAGES: &str = "num_images_per_prompt";
const MODEL: &str = "checkpoint_model_version_id";
const QUEUE: &str = "groupId";
const LORAS: &str = "num_lora";

/// What a trace says of its requests, in order of arrival.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The requests.
    pub asked: Vec<Asked>,
    /// Rows left out because a cell that matters was empty.
    pub skipped: usize,
}

/// One request as the trace has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When, in seconds.
    pub arrived: i64,
    /// Denoising steps.
    pub steps: u32,
    /// Pictures.
    pub images: u32,
    /// LoRAs.
    pub loras: u32,
    /// Base model.
    pub model: String,
    /// Who asked.
    pub queue: String,
}

/// Why a trace cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// The first line lacks a column.
    #[error("the trace has no column `{0}`; it must have the columns of GenTD26, named in its first line")]
    NoColumn(&'static str),
    /// A row has another number of cells than the first line.
    #[error("line {line} of the trace has {found} cells, the first line has {expected}")]
    Cells {
        /// From 1.
        line: usize,
        /// Cells of the row.
        found: usize,
        /// Cells of the first line.
        expected: usize,
    },
    /// A cell does not hold what its column says.
    #[error("line {line} of the trace: `{cell}` is no value for `{column}`")]
    Cell {
        /// From 1.
        line: usize,
        /// The column.
        column: &'static str,
        /// What it holds.
        cell: String,
    },
    /// The file is too long.
    #[error("the trace has more than {ROWS_MAX} rows; cut it into parts")]
    TooLong,
    /// Nothing is left to replay.
    #[error("the trace has no row with steps, images and model")]
    Empty,
}

/// Reads a trace. A row without steps, pictures or model is skipped and counted; one that makes no sense is refused.
pub fn read_trace(text: &str) -> Result<Trace, TraceError> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
    let header: Vec<&str> = lines.next().map(|(_, line)| line.split(',').collect()).unwrap_or_default();
    let column = |name| header.iter().position(|found| *found == name).ok_or(TraceError::NoColumn(name));
    let columns = [column(ARRIVED)?, column(STEPS)?, column(IMAGES)?, column(MODEL)?, column(QUEUE)?, column(LORAS)?];
    let mut trace = Trace::default();
    for (number, line) in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let line = number + 1;
        if cells.len() != header.len() {
            return Err(TraceError::Cells { line, found: cells.len(), expected: header.len() });
        }
        if trace.asked.len() + trace.skipped >= ROWS_MAX {
            return Err(TraceError::TooLong);
        }
        match row(columns.map(|at| cells[at]), line)? {
            Some(asked) => trace.asked.push(asked),
            None => trace.skipped += 1,
        }
    }
    trace.asked.sort_by_key(|asked| asked.arrived);
    if trace.asked.is_empty() { Err(TraceError::Empty) } else { Ok(trace) }
}

fn row([arrived, steps, images, model, queue, loras]: [&str; 6], line: usize) -> Result<Option<Asked>, TraceError> {
    let wrong = |column, cell: &str| TraceError::Cell { line, column, cell: cell.chars().take(40).collect() };
    if steps.is_empty() || images.is_empty() || model.is_empty() {
        return Ok(None);
    }
    let count = |column, cell: &str, least: f64| {
        let value = cell.parse().ok().filter(|value: &f64| (least..=COUNT_MAX).contains(value));
        value.map(|value| value as u32).ok_or_else(|| wrong(column, cell))
    };
    Ok(Some(Asked {
        arrived: time::seconds(arrived).ok_or_else(|| wrong(ARRIVED, arrived))?,
        steps: count(STEPS, steps, 1.0)?,
        images: count(IMAGES, images, 1.0)?,
        loras: count(LORAS, if loras.is_empty() { "0" } else { loras }, 0.0)?,
        model: model.to_owned(),
        queue: queue.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "num_lora,gmt_create,groupId,num_images_per_prompt,num_inference_steps,checkpoint_model_version_id";

    fn read(rows: &str) -> Result<Trace, TraceError> {
        read_trace(&format!("{HEADER}\n{rows}"))
    }

    #[test]
    fn rows_are_sorted_and_empty_cells_are_counted() {
        let trace = read(
            "1,2024-11-15 10:00:05,g,2.0,30.0,m\n0,2024-11-15 10:00:01,g,1.0,20.0,n\n0,2024-11-15 10:00:01,g,,,\n",
        );
        let trace = trace.unwrap();
        assert_eq!(trace.skipped, 1);
        let found: Vec<_> = trace.asked.iter().map(|asked| (asked.model.as_str(), asked.steps, asked.loras)).collect();
        assert_eq!(found, [("n", 20, 0), ("m", 30, 1)]);
    }

    #[test]
    fn a_row_that_makes_no_sense_is_refused_with_its_line() {
        let refused = |rows: &str| read(rows).unwrap_err().to_string();
        assert!(refused("0,2024-11-15 10:00:05,g,1.0,x,m").contains("line 2"));
        assert!(refused("0,2024-11-15 10:00:05,g,1.0,nan,m").contains("num_inference_steps"));
        assert!(refused("0,2024-11-15 10:00:05,g,1e9,3,m").contains("num_images_per_prompt"));
        assert!(refused("0,yesterday,g,1,3,m").contains("yesterday"));
        assert!(refused("0,2024-11-15 10:00:05,g,1.0").contains("has 4 cells"));
        assert_eq!(read("").unwrap_err(), TraceError::Empty);
        assert_eq!(read_trace("a,b").unwrap_err(), TraceError::NoColumn(ARRIVED));
    }
}
