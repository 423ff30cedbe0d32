//! Times and tables as people read them, within 100 columns.

use std::time::Duration;

use tintype_types::Timestamp;

/// Columns of a terminal that everybody has.
pub(super) const WIDTH: usize = 100;
/// Longest cell of a table that is not wide.
const CELL_MAX: usize = 36;

/// A duration in its two largest units.
pub(super) fn span(time: Duration) -> String {
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
pub(super) fn moment(at: Timestamp, now: Timestamp) -> String {
    if at > now { format!("in {}", span(at.since(now))) } else { format!("{} ago", span(now.since(at))) }
}

/// Milliseconds.
pub(super) fn ms(ms: u64) -> String {
    span(Duration::from_millis(ms))
}

/// Whether long cells are kept whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cells {
    /// However long.
    Whole,
    /// Cut so that a row fits the screen.
    Cut,
}

/// A table with its heads in capitals, columns two spaces apart.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>], cells: Cells) -> String {
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
