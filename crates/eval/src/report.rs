//! Tables for people (Markdown) and for programs (JSON).

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// A table of named rows and named columns.
#[derive(Debug, Clone, Default)]
pub struct Report {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<(String, Vec<f64>)>,
    notes: Vec<String>,
}

impl Report {
    /// An empty table.
    #[must_use]
    pub fn new(title: impl Into<String>, columns: &[&'static str]) -> Self {
        Self { title: title.into(), columns: columns.to_vec(), ..Self::default() }
    }

    /// Appends a row; NaN stands for nothing.
    pub fn row(&mut self, name: impl Into<String>, values: &[f64]) {
        self.rows.push((name.into(), values.to_vec()));
    }

    /// Appends a sentence.
    pub fn note(&mut self, sentence: impl Into<String>) {
        self.notes.push(sentence.into());
    }

    /// A value by row and column.
    #[must_use]
    pub fn get(&self, row: &str, column: &str) -> Option<f64> {
        let at = self.columns.iter().position(|name| *name == column)?;
        self.rows.iter().find(|(name, _)| name == row)?.1.get(at).copied()
    }

    /// Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = format!("### {}\n\n| |", self.title);
        for column in &self.columns {
            let _ = write!(out, " {column} |");
        }
        out.push_str("\n|---|");
        self.columns.iter().for_each(|_| out.push_str("---:|"));
        for (name, values) in &self.rows {
            let _ = write!(out, "\n| {name} |");
            for value in values {
                let _ = if value.is_nan() { write!(out, " – |") } else { write!(out, " {} |", short(*value)) };
            }
        }
        out.push('\n');
        for note in &self.notes {
            let _ = write!(out, "\n{note}\n");
        }
        out
    }

    /// JSON: `{"title": …, "rows": {"row": {"column": number}}, "notes": […]}`.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut rows = Map::new();
        for (name, values) in &self.rows {
            let cells =
                self.columns.iter().zip(values).map(|(column, value)| ((*column).to_owned(), Value::from(*value)));
            rows.insert(name.clone(), Value::Object(cells.collect()));
        }
        serde_json::json!({ "title": self.title, "rows": rows, "notes": self.notes })
    }
}

/// Three significant places, whole numbers whole.
fn short(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
