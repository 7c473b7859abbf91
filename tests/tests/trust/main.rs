//! Who is at either end of a link.

mod tokens;
