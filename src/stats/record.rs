//! What an object tells of itself, for reports: plain data, in order.

/// One object's figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What it is: `pool`.
    pub kind: &'static str,
    /// What it is called: `pool "inputs"`.
    pub name: String,
    /// Its figures, by the names that the C structs have for them.
    pub figures: Vec<(&'static str, Value)>,
    /// What it consists of.
    pub parts: Vec<Record>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A count, a level, or a number of bytes or nanoseconds.
    Count(u64),
    /// A ratio or a rate.
    Ratio(f64),
    /// Yes or no.
    Flag(bool),
    /// Words.
    Text(String),
    /// Not measured.
    Absent,
}

impl Record {
    /// An object without figures yet.
    pub fn new(kind: &'static str, name: impl ToString) -> Record {
        Record { kind, name: name.to_string(), figures: Vec::new(), parts: Vec::new() }
    }

    /// Adds a figure.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Record {
        self.figures.push((key, value.into()));
        self
    }

    /// Adds a part.
    #[must_use]
    pub fn with_part(mut self, part: Record) -> Record {
        self.parts.push(part);
        self
    }

    /// A figure by its name.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.figures.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Count(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Value {
        Value::Count(value.into())
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Value {
        Value::Count(value as u64)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Ratio(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Flag(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Text(value.to_string())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::Text(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Absent, Into::into)
    }
}
