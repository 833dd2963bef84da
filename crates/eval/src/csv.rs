//! Tables with a header line, columns found by name.

/// A table that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTable {
    /// A column is missing.
    #[error("the table has no column {0:?}")]
    Column(String),
    /// A cell does not read.
    #[error("line {line}: column {column:?} is {value:?}, which is no number")]
    Cell {
        /// Line of the file, from 1.
        line: usize,
        /// The column.
        column: String,
        /// What stands there.
        value: String,
    },
    /// A line is too short.
    #[error("line {line} has too few columns")]
    Short {
        /// Line of the file, from 1.
        line: usize,
    },
    /// Nothing below the header.
    #[error("the table has no rows")]
    Empty,
}

/// The text of a table. Quotes are not needed for what is read here: ids and numbers.
pub struct Table<'a> {
    header: Vec<&'a str>,
    text: &'a str,
}

/// One line.
pub struct Row<'a, 'b> {
    table: &'b Table<'a>,
    cells: Vec<&'a str>,
    line: usize,
}

impl<'a> Table<'a> {
    pub fn read(text: &'a str) -> Self {
        let header = text.lines().next().unwrap_or_default();
        Self { header: header.split(',').map(str::trim).collect(), text }
    }

    pub fn rows(&self) -> impl Iterator<Item = Row<'a, '_>> {
        let lines = self.text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty());
        lines.map(|(index, line)| Row { table: self, cells: line.split(',').map(str::trim).collect(), line: index + 1 })
    }
}

impl<'a> Row<'a, '_> {
    pub fn text(&self, column: &str) -> Result<&'a str, InvalidTable> {
        let at = self.table.header.iter().position(|name| *name == column);
        let at = at.ok_or_else(|| InvalidTable::Column(column.to_owned()))?;
        self.cells.get(at).copied().ok_or(InvalidTable::Short { line: self.line })
    }

    pub fn number<T: std::str::FromStr>(&self, column: &str) -> Result<T, InvalidTable> {
        let value = self.text(column)?;
        value.parse().map_err(|_| self.bad(column))
    }

    /// The error of a cell that reads but makes no sense, or does not read.
    pub fn bad(&self, column: &str) -> InvalidTable {
        let value = self.text(column).unwrap_or_default().to_owned();
        InvalidTable::Cell { line: self.line, column: column.to_owned(), value }
    }
}
