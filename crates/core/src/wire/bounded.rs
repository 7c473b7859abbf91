//! Lists and maps with a bound: a few bytes of a hostile frame must not become a thousand times as many in memory.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, de};

/// Reads a list of at most `MAX` elements; for `deserialize_with`.
///
/// # Errors
///
/// When there are more, or one of them is malformed.
pub fn list<'de, const MAX: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_seq(List::<MAX, T>(PhantomData))
}

/// [`list`], where there may be none.
///
/// # Errors
///
/// As there.
pub fn list_or_none<'de, const MAX: usize, T, D>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Inner<const MAX: usize, T>(Vec<T>);

    impl<'de, const MAX: usize, T: Deserialize<'de>> Deserialize<'de> for Inner<MAX, T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            list::<MAX, T, D>(deserializer).map(Self)
        }
    }

    Ok(Option::<Inner<MAX, T>>::deserialize(deserializer)?.map(|inner| inner.0))
}

/// Reads a map of at most `MAX` entries; for `deserialize_with`.
///
/// # Errors
///
/// When there are more, or one of them is malformed.
pub fn map<'de, const MAX: usize, T, D>(deserializer: D) -> Result<BTreeMap<String, T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_map(Map::<MAX, T>(PhantomData))
}

struct List<const MAX: usize, T>(PhantomData<T>);

impl<'de, const MAX: usize, T: Deserialize<'de>> de::Visitor<'de> for List<MAX, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX} elements")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = seq.next_element()? {
            if list.len() == MAX {
                return Err(de::Error::invalid_length(MAX + 1, &self));
            }
            list.push(element);
        }
        Ok(list)
    }
}

struct Map<const MAX: usize, T>(PhantomData<T>);

impl<'de, const MAX: usize, T: Deserialize<'de>> de::Visitor<'de> for Map<MAX, T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a table of at most {MAX} entries")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut access: A) -> Result<BTreeMap<String, T>, A::Error> {
        let (mut map, mut read) = (BTreeMap::new(), 0);
        while let Some((key, value)) = access.next_entry()? {
            // Entries of one name count each: they cost as much to read.
            read += 1;
            if read > MAX {
                return Err(de::Error::invalid_length(read, &self));
            }
            map.insert(key, value);
        }
        Ok(map)
    }
}
