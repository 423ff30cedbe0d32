//! Answers as people and scripts read them: times and tables within 100 columns, JSON, YAML, once or again and again.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tintype_types::Timestamp;

use crate::args::OutputFormat;
use crate::terminal;

/// Columns of a terminal that everybody has.
pub(crate) const WIDTH: usize = 100;
/// Longest cell of a table that is not wide.
const CELL_MAX: usize = 36;

/// Time between two looks of `--watch`.
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// Clears a terminal and goes to its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Prints what is answered, once or, watching, until Ctrl-C.
pub(crate) async fn again(
    form: OutputFormat,
    watch: bool,
    mut answer: impl AsyncFnMut() -> Result<String>,
) -> Result<()> {
    loop {
        let said = answer().await?;
        if !watch {
            terminal::result(said.trim_end());
            return Ok(());
        }
        // For a script each answer stands below the one before; for people it takes its place.
        let clear = if matches!(form, OutputFormat::Table | OutputFormat::Wide) { CLEAR } else { "" };
        terminal::result(format_args!("{clear}{}", said.trim_end()));
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// An answer in the form that is wanted.
pub(crate) fn written(told: &impl Serialize, form: OutputFormat, text: impl FnOnce() -> String) -> Result<String> {
    Ok(match form {
        OutputFormat::Table | OutputFormat::Wide => text(),
        OutputFormat::Json => serde_json::to_string_pretty(told)?,
        OutputFormat::Yaml => serde_yaml_ng::to_string(told)?,
    })
}

/// A duration in its two largest units.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..=59 => format!("{}.{} s", seconds, time.subsec_millis() / 100),
        60..=3_599 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A moment as seen from another.
pub(crate) fn moment(at: Timestamp, now: Timestamp) -> String {
    if at > now { format!("in {}", span(at.since(now))) } else { format!("{} ago", span(now.since(at))) }
}

/// Milliseconds.
pub(crate) fn ms(ms: u64) -> String {
    span(Duration::from_millis(ms))
}

impl From<OutputFormat> for Cells {
    fn from(form: OutputFormat) -> Self {
        if form == OutputFormat::Wide { Self::Whole } else { Self::Cut }
    }
}

/// Whether long cells are kept whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cells {
    /// However long.
    Whole,
    /// Cut so that a row fits the screen.
    Cut,
}

/// A table with its heads in capitals, columns two spaces apart.
pub(crate) fn table(heads: &[&str], rows: &[Vec<String>], cells: Cells) -> String {
    let cut = |text: &String| match cells {
        Cells::Whole => text.clone(),
        Cells::Cut => shortened(text, CELL_MAX),
    };
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(cut).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| Some(row.get(column)?.chars().count()));
        cells.chain([heads[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |row: Vec<&str>| {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = padded.collect::<Vec<_>>().join("  ");
        match cells {
            Cells::Whole => line.trim_end().to_owned(),
            Cells::Cut => shortened(line.trim_end(), WIDTH),
        }
    };
    let head = line(heads.to_vec());
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(head).chain(body).collect::<Vec<_>>().join("\n")
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_their_two_largest_units() {
        for (ms_, said) in
            [(0, "0 ms"), (999, "999 ms"), (1_250, "1.2 s"), (61_000, "1 min 1 s"), (7_260_000, "2 h 1 min")]
        {
            assert_eq!(ms(ms_), said);
        }
        assert_eq!(moment(Timestamp(9_000), Timestamp(4_000)), "in 5.0 s");
        assert_eq!(moment(Timestamp(4_000), Timestamp(9_000)), "5.0 s ago");
    }

    #[test]
    fn a_table_fits_the_screen_unless_it_may_be_wide() {
        let rows = vec![vec!["x".repeat(80), "y".repeat(80), "z".repeat(80)]];
        let heads = ["FIRST", "SECOND", "THIRD"];
        assert!(table(&heads, &rows, Cells::Cut).lines().all(|line| line.chars().count() <= WIDTH));
        assert!(table(&heads, &rows, Cells::Whole).lines().all(|line| line.len() <= 244));
        assert_eq!(table(&["A", "B"], &[vec!["1".to_owned(), "22".to_owned()]], Cells::Cut), "A  B\n1  22");
    }
}
