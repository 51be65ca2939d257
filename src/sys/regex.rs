//! regcomp(3) and regexec(3): the extended regular expressions of POSIX, see regex(7).

use std::ffi::CString;
use std::mem::MaybeUninit;

use crate::error::{Error, Result};

/// A compiled expression.
pub struct Expression(libc::regex_t);

impl Expression {
    /// Compiles an extended regular expression.
    pub fn compile(text: &str) -> Result<Expression> {
        let invalid = |why: &str| {
            Err(Error::new(format!("invalid regular expression {text:?}{why}"))
                .hint("it is an extended one, see regex(7)"))
        };
        let Ok(pattern) = CString::new(text) else { return invalid(": it holds a NUL byte") };
        let mut compiled = MaybeUninit::uninit();
        let flags = libc::REG_EXTENDED | libc::REG_NOSUB;
        // SAFETY: the pattern is a C string, and regcomp writes a whole regex_t when it returns 0.
        let outcome = unsafe { libc::regcomp(compiled.as_mut_ptr(), pattern.as_ptr(), flags) };
        if outcome != 0 {
            return invalid("");
        }
        // SAFETY: it returned 0.
        Ok(Expression(unsafe { compiled.assume_init() }))
    }

    /// Whether it is found anywhere in the text.
    pub fn matches(&self, text: &str) -> bool {
        let Ok(text) = CString::new(text) else { return false };
        // SAFETY: the expression was compiled with REG_NOSUB, so no matches are stored, and the text is a C string.
        unsafe { libc::regexec(&raw const self.0, text.as_ptr(), 0, std::ptr::null_mut(), 0) == 0 }
    }
}

impl Drop for Expression {
    fn drop(&mut self) {
        // SAFETY: it was compiled and is freed once.
        unsafe { libc::regfree(&raw mut self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::Expression;

    #[test]
    fn expressions_are_extended_and_found_anywhere() {
        let matches = |expression, text| Expression::compile(expression).expect("valid").matches(text);
        for (expression, text, expected) in [
            ("^web-[0-9]+$", "web-12", true),
            ("^web-[0-9]+$", "web-1a", false),
            ("(b|c)+", "abcd", true),
            ("^b", "abcd", false),
            ("", "x", true),
        ] {
            assert_eq!(matches(expression, text), expected, "{expression}");
        }
        assert!(Expression::compile("(").is_err());
        assert!(Expression::compile("a\0").is_err());
    }
}
