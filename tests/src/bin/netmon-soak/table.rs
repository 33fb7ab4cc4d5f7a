//! The samples as a CSV: a line each, written at once, so that a run that is cut off has its figures.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The column of the time since the start of the load, seconds.
pub const SECONDS: &str = "seconds";
/// The column that is 1 where the load was at rest.
pub const REST: &str = "rest";

/// One sample: figures by name.
pub type Row = BTreeMap<String, f64>;

/// A table that grows.
#[derive(Debug)]
pub struct Writer {
    file: File,
    columns: Vec<String>,
}

impl Writer {
    /// A new table with the columns of `first`; what was in the file is gone.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn new(path: &Path, first: &Row) -> Result<Self> {
        let mut file = File::create(path).with_context(|| path.display().to_string())?;
        let columns: Vec<String> = first.keys().cloned().collect();
        writeln!(file, "{}", columns.join(","))?;
        Ok(Self { file, columns })
    }

    /// One line more; a figure that it lacks stays empty.
    ///
    /// # Errors
    /// When it cannot be written, or has a figure that the first had not.
    pub fn append(&mut self, row: &Row) -> Result<()> {
        if let Some(unknown) = row.keys().find(|name| !self.columns.contains(name)) {
            anyhow::bail!("{unknown} is no column");
        }
        let cell = |name: &String| row.get(name).map_or(String::new(), f64::to_string);
        let line = self.columns.iter().map(cell).collect::<Vec<_>>().join(",");
        // At once: one call, and no buffer.
        self.file.write_all(format!("{line}\n").as_bytes()).context("a sample")
    }
}

/// Reads a table; a last line that was cut is left out.
///
/// # Errors
/// When it is no table of numbers.
pub fn read(text: &str) -> Result<Vec<Row>> {
    let (head, body) = text.split_once('\n').context("no line of names")?;
    let columns: Vec<&str> = head.split(',').collect();
    ensure!(columns.contains(&SECONDS), "no column {SECONDS}");
    let whole = body.rfind('\n').map_or("", |end| &body[..end]);
    let row = |line: &str| -> Result<Row> {
        let cells: Vec<&str> = line.split(',').collect();
        ensure!(cells.len() == columns.len(), "{} cells, {} names: {line}", cells.len(), columns.len());
        let filled = columns.iter().zip(cells).filter(|(_, cell)| !cell.is_empty());
        filled.map(|(name, cell)| Ok(((*name).to_owned(), cell.parse().context(cell.to_owned())?))).collect()
    };
    whole.lines().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_cut_line_is_not() {
        let file = Path::new("/tmp").join(format!("netmon-soak-table-{}", std::process::id()));
        let row = |seconds: f64| Row::from([(SECONDS.to_owned(), seconds), ("rss".to_owned(), 1.5)]);
        let mut table = Writer::new(&file, &row(0.0)).unwrap();
        table.append(&row(0.0)).unwrap();
        table.append(&Row::from([(SECONDS.to_owned(), 10.0)])).unwrap();
        assert!(table.append(&Row::from([("other".to_owned(), 1.0)])).is_err());
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let rows = read(&text).unwrap();
        assert_eq!(rows, [row(0.0), Row::from([(SECONDS.to_owned(), 10.0)])]);
        assert_eq!(read(&text[..text.len() - 2]).unwrap(), [row(0.0)]);
        assert!(read("a,b\n1,2\n").is_err() && read("seconds,b\n1,x\n").is_err());
    }
}
