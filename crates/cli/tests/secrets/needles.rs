//! What to look for when a secret must not be there: pieces of it, however they are written.

use base64::{Engine, prelude::*};

/// So few bytes of a secret, and one would not be found by chance.
const PIECE_BYTES: usize = 12;

/// Pieces of one secret.
pub(crate) struct Needles(Vec<String>);

impl Needles {
    /// The pieces of a token, as its owner keeps it.
    pub(crate) fn token(text: &str) -> Self {
        let secret = text.trim_end().strip_prefix("adit_").unwrap();
        Self::new(&BASE64_URL_SAFE_NO_PAD.decode(secret).unwrap())
    }

    /// The pieces of the secret part of a private key on a curve, in PEM. What else is in the file is in certificates.
    pub(crate) fn key(pem: &str) -> Self {
        let lines = pem.lines().filter(|line| !line.starts_with("-----"));
        let der = BASE64_STANDARD.decode(lines.collect::<String>()).unwrap();
        // PKCS #8 and RFC 5915: an OCTET STRING of 32 bytes is the first with anything but structure in it.
        let at = der.windows(2).position(|pair| pair == [0x04, 0x20]).unwrap() + 2;
        let mut needles = Self::new(&der[at..at + 32]);
        // As it stands in the file: base64 of whole groups of three bytes.
        let start = at.div_ceil(3);
        let encoded = BASE64_STANDARD.encode(&der[start * 3..(at + 32) / 3 * 3]);
        needles.0.extend(windows(&encoded, PIECE_BYTES + 4));
        needles
    }

    /// The pieces of a text.
    pub(crate) fn text(text: &str) -> Self {
        let mut needles = Self::new(text.as_bytes());
        needles.0.extend(windows(text, PIECE_BYTES + 4));
        needles
    }

    /// The pieces of a hash of 32 bytes, as it is written.
    pub(crate) fn hash(text: &str) -> Self {
        let digits = text.strip_prefix("blake3:").unwrap();
        let bytes = (0..32).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap());
        Self::new(&bytes.collect::<Vec<_>>())
    }

    fn new(secret: &[u8]) -> Self {
        let mut needles = Vec::new();
        for piece in secret.windows(PIECE_BYTES) {
            let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
            needles.push(hex.to_uppercase());
            needles.push(hex);
            needles.push(piece.iter().map(u8::to_string).collect::<Vec<_>>().join(", "));
            needles.push(piece.iter().map(u8::to_string).collect::<Vec<_>>().join(",\n"));
            needles.push(piece.escape_ascii().to_string());
            // Base64 of the same bytes has three shapes; this one begins at each of them in turn.
            needles.push(BASE64_STANDARD.encode(piece));
            needles.push(BASE64_URL_SAFE_NO_PAD.encode(piece));
        }
        Self(needles)
    }

    /// Returns a line that has one of them, and its number.
    pub(crate) fn find<'a>(&self, said: &'a str) -> Option<(&'a str, usize)> {
        let found = self.0.iter().find_map(|needle| said.find(needle))?;
        let start = said[..found].rfind('\n').map_or(0, |at| at + 1);
        Some((said[start..].lines().next()?, said[..start].lines().count() + 1))
    }
}

/// Checks that none of these secrets is said.
pub(crate) fn are_not_in(secrets: &[(&str, Needles)], said: &str) {
    for (name, needles) in secrets {
        if let Some((line, number)) = needles.find(said) {
            panic!("{name} is said, in line {number}: {line}");
        }
    }
}

fn windows(text: &str, length: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.windows(length).map(|window| window.iter().collect()).collect()
}

#[test]
fn a_secret_is_found_however_it_is_written() {
    let secret: Vec<u8> = (100..132).collect();
    let token = format!("adit_{}\n", BASE64_URL_SAFE_NO_PAD.encode(&secret));
    let needles = Needles::token(&token);
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    for said in
        [token.clone(), hex, format!("{secret:?}"), format!("{secret:#?}").replace("    ", ""), token[9..30].to_owned()]
    {
        assert!(needles.find(&format!("one\nline {said} of many\n")).is_some(), "{said:?}");
    }
    assert!(needles.find("something else").is_none());
    let mut der = b"\x30\x41\x02\x01\x01\x04\x20".to_vec();
    der.extend(&secret);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(&der));
    assert!(Needles::key(&pem).find(&pem).is_some() && Needles::key(&pem).find(&format!("{secret:x?}")).is_none());
}
