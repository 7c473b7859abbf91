//! What a rule changes in the fields of a head.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::headers::{ADIT_ERROR, ADIT_HOP};

/// Changes to the fields of a head, in this order: remove, set, add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldEdits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

/// A change that is not possible.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadEdit {
    /// The name is no field name.
    #[error("{0:?} is not the name of a header field")]
    Name(String),
    /// The value holds what no field may hold.
    #[error("the value of {0} has characters that a header field cannot have")]
    Value(String),
    /// The field says how the message is framed or where it goes, which is not for a rule to say.
    #[error("{0} cannot be changed by a rule{hint}", hint = hint(.0))]
    Reserved(HeaderName),
}

fn hint(name: &HeaderName) -> &'static str {
    if *name == header::HOST { ": use set_host" } else { "" }
}

/// Fields that speak of the connection, the framing, the destination or for adit.
const RESERVED: [HeaderName; 12] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    ADIT_ERROR,
    ADIT_HOP,
];

impl FieldEdits {
    /// Parses the changes of a rule.
    ///
    /// # Errors
    ///
    /// When a name or a value cannot stand in a head, or the field is not for a rule to change.
    pub fn new<'a>(
        remove: impl IntoIterator<Item = &'a str>,
        set: impl IntoIterator<Item = (&'a str, &'a str)>,
        add: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, BadEdit> {
        let field = |(name, value): (&str, &str)| {
            let name = parse_name(name)?;
            let value = HeaderValue::from_str(value).map_err(|_| BadEdit::Value(name.to_string()))?;
            Ok((name, value))
        };
        Ok(Self {
            remove: remove.into_iter().map(parse_name).collect::<Result<_, _>>()?,
            set: set.into_iter().map(field).collect::<Result<_, _>>()?,
            add: add.into_iter().map(field).collect::<Result<_, _>>()?,
        })
    }

    /// Makes the changes.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

fn parse_name(name: &str) -> Result<HeaderName, BadEdit> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| BadEdit::Name(name.to_owned()))?;
    if RESERVED.contains(&parsed) {
        return Err(BadEdit::Reserved(parsed));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let edits = FieldEdits::new(["X-A", "x-b"], [("x-b", "new"), ("x-c", "only")], [("x-c", "more")]).unwrap();
        let mut headers = HeaderMap::new();
        for name in ["x-a", "x-b", "x-c", "x-d"] {
            headers.append(name, HeaderValue::from_static("old"));
        }
        edits.apply(&mut headers);
        let fields: Vec<_> = ["x-a", "x-b", "x-c", "x-d"]
            .map(|name| headers.get_all(name).into_iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>())
            .to_vec();
        assert_eq!(fields, [vec![], vec!["new"], vec!["only", "more"], vec!["old"]]);
    }

    #[test]
    fn framing_and_destination_are_not_for_a_rule_to_change() {
        for name in ["host", "Content-Length", "transfer-encoding", "connection", "adit-error"] {
            assert!(matches!(FieldEdits::new([name], [], []), Err(BadEdit::Reserved(_))), "{name}");
            assert!(matches!(FieldEdits::new([], [(name, "1")], []), Err(BadEdit::Reserved(_))), "{name}");
        }
        let error = FieldEdits::new(["host"], [], []).unwrap_err().to_string();
        assert_eq!(error, "host cannot be changed by a rule: use set_host");
    }

    #[test]
    fn what_cannot_stand_in_a_head_is_refused() {
        assert_eq!(FieldEdits::new(["a b"], [], []), Err(BadEdit::Name("a b".into())));
        assert_eq!(FieldEdits::new([], [], [("x", "a\r\nb: c")]), Err(BadEdit::Value("x".into())));
    }
}
