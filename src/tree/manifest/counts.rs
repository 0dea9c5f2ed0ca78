//! What a dump of the database holds, as the database itself counted it. *Pure.*

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::text::Shown;

/// So many tables are counted at most; with names of 63 bytes their list still fits the first line of a manifest.
pub const MAX_TABLES: usize = 50_000;
/// So many differences are named.
const NAMED: usize = 20;

/// Of each partition, by schema and name, the table that it is of.
pub type Roots = BTreeMap<(String, String), (String, String)>;

/// The tables of a database and their rows, and its large objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// For each schema its tables and their rows.
    pub tables: BTreeMap<String, BTreeMap<String, u64>>,
    /// The number of large objects.
    pub large_objects: u64,
    /// What only a superuser may make, so that a restore leaves it out.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub left_out: Vec<String>,
    /// What is set for the database, for roles in it and for roles.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub settings: Vec<Setting>,
}

/// A setting of a database or a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The role; none if it holds for all.
    pub role: Option<String>,
    /// Whether it holds in this database alone.
    pub here: bool,
    /// Its name.
    pub name: String,
    /// Its value, as the server keeps it.
    pub value: String,
}

impl Counts {
    /// Adds a table.
    pub fn insert(&mut self, schema: &str, table: &str, rows: u64) {
        self.tables.entry(schema.to_owned()).or_default().insert(table.to_owned(), rows);
    }

    /// The rows of a table.
    pub fn get(&self, schema: &str, table: &str) -> Option<u64> {
        self.tables.get(schema)?.get(table).copied()
    }

    /// All tables: schema, name, rows.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.tables
            .iter()
            .flat_map(|(schema, tables)| tables.iter().map(|(table, rows)| (schema.as_str(), table.as_str(), *rows)))
    }

    /// The number of tables.
    pub fn tables(&self) -> usize {
        self.tables.values().map(BTreeMap::len).sum()
    }

    /// The rows of all tables.
    pub fn rows(&self) -> u64 {
        self.iter().fold(0, |sum, (.., rows)| sum.saturating_add(rows))
    }

    /// Whether these are the same tables with the same rows, but for rows in other partitions of the same table: a key of an enum is hashed
    /// anew in each database, and `pg_dump` knows that. `roots`: of each partition the table.
    pub fn equals_by_roots(&self, expected: &Counts, roots: &Roots) -> bool {
        let names = |counts: &Counts| {
            counts.iter().map(|(schema, table, _)| (schema.to_owned(), table.to_owned())).collect::<Vec<_>>()
        };
        let sums = |counts: &Counts| {
            let mut sums = BTreeMap::new();
            for (schema, table, rows) in counts.iter() {
                let name = (schema.to_owned(), table.to_owned());
                let sum: &mut u64 = sums.entry(roots.get(&name).cloned().unwrap_or(name)).or_default();
                *sum = sum.saturating_add(rows);
            }
            sums
        };
        self.large_objects == expected.large_objects && names(self) == names(expected) && sums(self) == sums(expected)
    }

    /// Where these, found in a database, differ from what was expected; the first of them, and how many more.
    pub fn differences(&self, expected: &Counts) -> Vec<String> {
        let mut found = Vec::new();
        let shown = |schema: &str, table: &str| format!("{}.{}", Shown(schema.as_bytes()), Shown(table.as_bytes()));
        for (schema, table, rows) in expected.iter() {
            match self.get(schema, table) {
                None => found.push(format!("{} is missing", shown(schema, table))),
                Some(there) if there != rows => {
                    found.push(format!("{} has {there} rows, the dump {rows}", shown(schema, table)));
                }
                _ => {}
            }
        }
        let more = self.iter().filter(|(schema, table, _)| expected.get(schema, table).is_none());
        found.extend(more.map(|(schema, table, _)| format!("{} is not in the dump", shown(schema, table))));
        if self.large_objects != expected.large_objects {
            found.push(format!("{} large objects, the dump {}", self.large_objects, expected.large_objects));
        }
        let surplus = found.len().saturating_sub(NAMED);
        if surplus > 0 {
            found.truncate(NAMED);
            found.push(format!("and {surplus} more"));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named() {
        let counts = |tables: &[(&str, &str, u64)], large_objects| {
            let mut counts = Counts { large_objects, ..Counts::default() };
            tables.iter().for_each(|(schema, table, rows)| counts.insert(schema, table, *rows));
            counts
        };
        let dump = counts(&[("public", "a", 1), ("public", "c", 0)], 2);
        assert!(dump.differences(&dump).is_empty());
        let found = counts(&[("public", "a", 2), ("x", "y", 0)], 1).differences(&dump);
        let expected = [
            "public.a has 2 rows, the dump 1",
            "public.c is missing",
            "x.y is not in the dump",
            "1 large objects, the dump 2",
        ];
        assert_eq!(found, expected);
        let mut many = Counts::default();
        (0..30).for_each(|number| many.insert("s", &format!("t{number}"), 1));
        let found = Counts::default().differences(&many);
        assert_eq!((found.len(), found.last().unwrap().as_str()), (21, "and 10 more"));
    }
}
