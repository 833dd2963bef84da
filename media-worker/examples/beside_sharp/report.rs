//! Tables as people read them.

use std::fmt;
use std::path::Path;

/// Rows of cells, printed as Markdown.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(first: &str, others: &[&str]) -> Self {
        let head = std::iter::once(first).chain(others.iter().copied()).map(str::to_owned).collect();
        Self { rows: vec![head] }
    }

    pub fn row(&mut self, cells: &[String]) {
        self.rows.push(cells.to_vec());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, row) in self.rows.iter().enumerate() {
            writeln!(f, "| {} |", row.join(" | "))?;
            if at == 0 {
                writeln!(f, "|---|{}", "---:|".repeat(row.len() - 1))?;
            }
        }
        Ok(())
    }
}

pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Medians and their relation.
pub fn pair(what: &str, ours: &[f64], theirs: &[f64]) -> Vec<String> {
    let (ours, theirs) = (median(ours), median(theirs));
    let empty = String::new;
    vec![what.into(), format!("{ours:.1}"), format!("{theirs:.1}"), format!("{:.2}", ours / theirs), empty(), empty()]
}

/// As [`pair`], of milliseconds of one core for a picture.
pub fn cost(what: &str, ours: &[f64], theirs: &[f64]) -> Vec<String> {
    let mut row = pair(what, ours, theirs);
    (row[4], row[5]) = (format!("{:.1}", 1000.0 / median(ours)), format!("{:.1}", 1000.0 / median(theirs)));
    row
}

pub fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
