//! Reads a recording. Whatever the bytes are, the answer is a recording or an error.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

const MAGIC: &[u8] = b"GPUBUFRC";
const FORMAT: u64 = 1;
/// How deep options lead to options, at most.
const NESTED: u32 = 1;

/// What is wrong with a file, and where.
#[derive(Debug)]
pub struct Broken {
    /// The byte.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken at byte {}: {}", self.at, self.what)
    }
}

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the process.
    Exit,
    /// At its limit.
    Limit,
    /// In the middle: the process was killed, or the disk failed.
    Cut,
}

/// A recording.
#[derive(Debug)]
pub struct Recording {
    /// Of the library.
    pub version: String,
    /// Seconds since 1970.
    pub began: u64,
    /// What the environment had for the library.
    pub settings: Vec<(String, String)>,
    /// The calls, in the order in which they ended.
    pub calls: Vec<Call>,
    /// Calls that are missing, and before which call.
    pub lost: Vec<(usize, u64)>,
    /// How it ends.
    pub end: End,
}

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The function's name.
    pub function: Arc<str>,
    /// The thread's number.
    pub thread: u64,
    /// When it ended, in milliseconds of the recording.
    pub ms: u64,
    /// Calls that ended between its begin and its end.
    pub meanwhile: u64,
    /// From a callback, inside another call.
    pub inside: bool,
    /// From a function on a stream, or a thread of the library's.
    pub elsewhere: bool,
    /// What it answered.
    pub status: i32,
    /// Milliseconds that it took.
    pub took: u64,
    /// Its arguments.
    pub arguments: Vec<Value>,
}

/// An argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A handle, as it was; 0: NULL.
    Handle(u64),
    /// A number.
    Number(u64),
    /// A signed number.
    Signed(i64),
    /// A text.
    Text(Option<Vec<u8>>),
    /// A struct with options: what was not looked at has no words.
    Options(Option<Options>),
    /// A struct for figures: its size.
    Figures(Option<u32>),
    /// Handles.
    Handles(List<u64>),
    /// Numbers.
    Words(List<u64>),
    /// Rows of slots: slot, reserved, first, count, whether there are bytes.
    Rows(List<[u64; 5]>),
    /// Whether a pointer was there.
    There(bool),
    /// A foreign number.
    Foreign(u64),
    /// A result that is a number.
    OutNumber {
        /// Whether the pointer was there.
        there: bool,
        /// What was written.
        value: Option<u64>,
    },
    /// A result that is a handle.
    OutHandle {
        /// Whether the pointer was there.
        there: bool,
        /// What was written.
        value: Option<u64>,
    },
}

/// A struct with options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What it said; `None`: it was not looked at.
    pub size: Option<u32>,
    /// Its words after the first, without the last that are 0.
    pub words: Vec<u32>,
    /// What fields lead to, by the places of these.
    pub parts: Vec<(usize, Value)>,
}

/// A list of which the first items are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T> {
    /// How long it was.
    pub count: u64,
    /// The first.
    pub items: Vec<T>,
}

/// What an argument is, as the recording says.
#[derive(Clone, Debug)]
enum Kind {
    Plain(u8),
    Options(Vec<(usize, Kind)>),
}

struct Function {
    name: Arc<str>,
    arguments: Vec<Kind>,
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn broken<T>(&self, what: &'static str) -> Result<T, Broken> {
        Err(Broken { at: self.at, what })
    }

    fn is_over(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn take(&mut self, count: u64) -> Result<&'b [u8], Broken> {
        let rest = &self.bytes[self.at..];
        if count > rest.len() as u64 {
            return self.broken("it ends too early");
        }
        self.at += count as usize;
        Ok(&rest[..count as usize])
    }

    fn byte(&mut self) -> Result<u8, Broken> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u64, Broken> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return self.broken("a number of more than 64 bits");
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        self.broken("a number of more than 64 bits")
    }

    fn signed(&mut self) -> Result<i64, Broken> {
        let value = self.number()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn bytes_or_none(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        match self.number()? {
            0 => Ok(None),
            length => Ok(Some(self.take(length - 1)?.to_vec())),
        }
    }

    fn text(&mut self) -> Result<String, Broken> {
        Ok(String::from_utf8_lossy(&self.bytes_or_none()?.unwrap_or_default()).into_owned())
    }

    fn handle(&mut self) -> Result<u64, Broken> {
        match self.byte()? {
            0 => Ok(0),
            kind if kind < 0x80 => {
                let (generation, index) = (self.number()?, self.number()?);
                if generation >> 32 != 0 || index >> 24 != 0 {
                    return self.broken("a handle that cannot be");
                }
                Ok((0x80 | u64::from(kind)) << 56 | generation << 24 | index)
            }
            0x80 => self.number(),
            _ => self.broken("a handle of no kind"),
        }
    }

    fn flag(&mut self) -> Result<bool, Broken> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => self.broken("neither 0 nor 1"),
        }
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T, Broken>) -> Result<List<T>, Broken> {
        let (count, known) = (self.number()?, self.number()?);
        if known > count {
            return self.broken("more items than there are");
        }
        // Every item has a byte at least.
        if known > (self.bytes.len() - self.at) as u64 {
            return self.broken("it ends too early");
        }
        let items = (0..known).map(|_| item(self)).collect::<Result<_, _>>()?;
        Ok(List { count, items })
    }

    fn options(&mut self, parts: &[(usize, Kind)]) -> Result<Option<Options>, Broken> {
        let size = match self.number()? {
            0 => return Ok(None),
            1 => return Ok(Some(Options::default())),
            size => match u32::try_from(size - 2) {
                Ok(size) => size,
                Err(_) => return self.broken("a struct that cannot be so large"),
            },
        };
        let count = self.number()?;
        if count > 1 << 14 || count * 4 > u64::from(size) {
            return self.broken("more words than the struct has");
        }
        let mut words = Vec::new();
        for _ in 0..count {
            match u32::try_from(self.number()?) {
                Ok(word) => words.push(word),
                Err(_) => return self.broken("a word of more than 32 bits"),
            }
        }
        let mut options = Options { size: Some(size), words, parts: Vec::new() };
        if !(8..=1 << 16).contains(&size) {
            return Ok(Some(options));
        }
        for (offset, kind) in parts.iter().filter(|(offset, _)| offset + 8 <= size as usize) {
            // Whether a pointer was there is in the words.
            if matches!(kind, Kind::Plain(b'p')) {
                continue;
            }
            let value = self.value(kind, false)?;
            options.parts.push((*offset, value));
        }
        Ok(Some(options))
    }

    fn value(&mut self, kind: &Kind, ok: bool) -> Result<Value, Broken> {
        let letter = match kind {
            Kind::Options(parts) => return Ok(Value::Options(self.options(parts)?)),
            Kind::Plain(letter) => letter,
        };
        Ok(match letter {
            b'h' => Value::Handle(self.handle()?),
            b'n' => Value::Number(self.number()?),
            b'i' => Value::Signed(self.signed()?),
            b't' => Value::Text(self.bytes_or_none()?),
            b'f' => Value::Figures(self.number()?.checked_sub(1).map(|size| size as u32)),
            b'l' => Value::Handles(self.list(Reader::handle)?),
            b'w' => Value::Words(self.list(Reader::number)?),
            b'e' => Value::Rows(self.list(|reader| {
                let [slot, reserved, first, count] = [(); 4].map(|()| reader.number());
                Ok([slot?, reserved?, first?, count?, reader.flag()?.into()])
            })?),
            b'p' => Value::There(self.flag()?),
            b'v' => Value::Foreign(self.number()?),
            b'N' => match self.number()? {
                0 => Value::OutNumber { there: false, value: None },
                1 => Value::OutNumber { there: true, value: None },
                2 => Value::OutNumber { there: true, value: Some(self.number()?) },
                _ => return self.broken("a result that is neither there nor not"),
            },
            _ => {
                let there = self.flag()?;
                Value::OutHandle { there, value: if ok { Some(self.handle()?) } else { None } }
            }
        })
    }

    /// What the fields of a struct lead to; options as deep as `nested`.
    fn parts(&mut self, nested: u32) -> Result<Vec<(usize, Kind)>, Broken> {
        let mut parts = Vec::new();
        for _ in 0..self.number()? {
            let offset = self.number()?;
            let kind = match self.byte()? {
                b's' if nested > 0 => Kind::Options(self.parts(nested - 1)?),
                b'w' => {
                    self.number()?;
                    Kind::Plain(b'w')
                }
                letter if b"thvp".contains(&letter) => Kind::Plain(letter),
                _ => return self.broken("a field of no kind"),
            };
            if offset > 1 << 16 {
                return self.broken("a field outside of its struct");
            }
            parts.push((offset as usize, kind));
        }
        Ok(parts)
    }

    fn function(&mut self) -> Result<(u64, Function), Broken> {
        let (number, name, count) = (self.number()?, self.text()?, self.number()?);
        let mut arguments = Vec::new();
        for _ in 0..count {
            let letter = self.byte()?;
            arguments.push(match letter {
                b's' => Kind::Options(self.parts(NESTED)?),
                _ if b"hnitflwepvNH".contains(&letter) => Kind::Plain(letter),
                _ => return self.broken("an argument of no kind"),
            });
        }
        Ok((number, Function { name: name.into(), arguments }))
    }
}

impl Recording {
    /// Reads one.
    pub fn read(bytes: &[u8]) -> Result<Recording, Broken> {
        let mut reader = Reader { bytes, at: 0 };
        if !bytes.starts_with(MAGIC) {
            return reader.broken("not a recording");
        }
        reader.at = MAGIC.len();
        if reader.number()? != FORMAT {
            return reader.broken("a format of another version");
        }
        let (version, began, count) = (reader.text()?, reader.number()?, reader.number()?);
        let mut settings = Vec::new();
        for _ in 0..count {
            settings.push((reader.text()?, reader.text()?));
        }
        let mut recording = Recording { version, began, settings, calls: Vec::new(), lost: Vec::new(), end: End::Cut };
        let mut functions = HashMap::new();
        let (mut thread, mut ms) = (0, 0);
        while !reader.is_over() && recording.end == End::Cut {
            let begin = reader.at;
            // What a kill or a full disk has left of the last record.
            let Ok(record) = reader.number().and_then(|length| reader.take(length)) else { break };
            let base = reader.at - record.len();
            let at = |broken: Broken| Broken { at: base + broken.at, ..broken };
            let mut inner = Reader { bytes: record, at: 0 };
            let first = inner.byte().map_err(|_| Broken { at: begin, what: "an empty record" })?;
            match first {
                0 => {
                    recording.end = match inner.byte().map_err(at)? {
                        0 => End::Exit,
                        1 => End::Limit,
                        _ => return Err(Broken { at: base, what: "an end for no reason" }),
                    }
                }
                1 => {
                    let (number, function) = inner.function().map_err(at)?;
                    functions.insert(number, function);
                }
                2 => recording.lost.push((recording.calls.len(), inner.number().map_err(at)?)),
                0x80.. => {
                    let call = inner.call(first, &functions, &mut thread, &mut ms).map_err(at)?;
                    recording.calls.push(call);
                }
                _ => return Err(Broken { at: base, what: "a record of no kind" }),
            }
            if !inner.is_over() {
                return Err(Broken { at: base + inner.at, what: "more bytes than the record has" });
            }
        }
        Ok(recording)
    }
}

impl Reader<'_> {
    fn call(
        &mut self,
        flags: u8,
        functions: &HashMap<u64, Function>,
        thread: &mut u64,
        ms: &mut u64,
    ) -> Result<Call, Broken> {
        let number = self.number()?;
        let Some(function) = functions.get(&number) else { return self.broken("a function that was not told") };
        if flags & 1 != 0 {
            *thread = self.number()?;
        }
        if flags & 2 != 0 {
            *ms = ms.wrapping_add(self.number()?);
        }
        let meanwhile = if flags & 4 != 0 { self.number()? } else { 0 };
        let status = if flags & 32 != 0 { self.signed()? } else { 0 };
        let took = if flags & 64 != 0 { self.number()? } else { 0 };
        let Ok(status) = i32::try_from(status) else { return self.broken("a status of more than 32 bits") };
        let arguments =
            function.arguments.iter().map(|kind| self.value(kind, status == 0)).collect::<Result<_, _>>()?;
        Ok(Call {
            function: function.name.clone(),
            thread: *thread,
            ms: *ms,
            meanwhile,
            inside: flags & 8 != 0,
            elsewhere: flags & 16 != 0,
            status,
            took,
            arguments,
        })
    }
}
