//! Tables in text and CSV.

/// Rows of cells under a heading.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these headings.
    #[must_use]
    pub fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![headings.iter().map(|&h| h.to_owned()).collect()],
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Aligned text: columns of numbers to the right, others to the left.
    #[must_use]
    pub fn text(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |c: usize| {
            self.rows
                .iter()
                .filter_map(|r| r.get(c))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let numeric = |c: usize| {
            self.rows.len() > 1
                && self
                    .rows
                    .iter()
                    .skip(1)
                    .filter_map(|r| r.get(c))
                    .all(|cell| is_number(cell))
        };
        let layout: Vec<(usize, bool)> = (0..columns).map(|c| (width(c), numeric(c))).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, (width, right)) in row.iter().zip(&layout) {
                let pad = " ".repeat(width - cell.chars().count());
                if !line.is_empty() {
                    line.push_str("  ");
                }
                if *right {
                    line.extend([pad.as_str(), cell]);
                } else {
                    line.extend([cell, pad.as_str()]);
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    /// Comma-separated values (RFC 4180), numbers without separators.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut out = String::new();
        for row in &self.rows {
            let cells: Vec<String> = row
                .iter()
                .map(|cell| {
                    if is_number(cell) {
                        cell.replace(',', "")
                    } else {
                        escaped(cell)
                    }
                })
                .collect();
            out.push_str(&cells.join(","));
            out.push_str("\r\n");
        }
        out
    }
}

fn is_number(cell: &str) -> bool {
    cell == "-"
        || (cell.contains(|c: char| c.is_ascii_digit())
            && cell
                .chars()
                .all(|c| c.is_ascii_digit() || matches!(c, ',' | '.' | '-')))
}

fn escaped(cell: &str) -> String {
    if cell.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_right_and_words_left() {
        let mut table = Table::new(&["name", "n"]);
        table.row(["a, b".to_owned(), "1,000".to_owned()]);
        table.row(["c".to_owned(), "-2".to_owned()]);
        assert_eq!(table.text(), "name      n\na, b  1,000\nc        -2\n");
        assert_eq!(table.csv(), "name,n\r\n\"a, b\",1000\r\nc,-2\r\n");
    }
}
