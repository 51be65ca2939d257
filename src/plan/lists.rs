//! Lists of numbers with ranges, such as `0-3,7`: processors and memory nodes (see cpuset(7), List format).

use std::fmt::{self, Display, Formatter};

/// Numbers as the kernel takes them: a bit each, the lowest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mask(Vec<u64>);

impl Mask {
    /// Every number below a multiple of 64.
    pub fn words_of_ones(words: usize) -> Mask {
        Mask(vec![u64::MAX; words])
    }

    /// Reads a list. Blanks around an element and empty elements are passed over, as in runc; a number above the highest
    /// is an error, so that a slip of the pen does not become megabytes.
    pub fn parse(text: &str, highest: usize) -> Result<Mask, String> {
        let number = |digits: &str| {
            let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse::<usize>().ok().filter(|number| *number <= highest);
            match is_plain {
                true => number.ok_or_else(|| format!("{digits} is above {highest}, the highest that is known")),
                false => Err(format!("{text:?} is no list of numbers and ranges such as \"0-3,7\"")),
            }
        };
        let mut mask = Mask::default();
        for element in text.split(',').map(str::trim).filter(|element| !element.is_empty()) {
            let (first, last) = element.split_once('-').unwrap_or((element, element));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("the range {element} ends before it begins"));
            }
            mask = (first..=last).fold(mask, Mask::with);
        }
        Ok(mask)
    }

    /// The bits.
    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// Whether there is no number in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn with(mut self, number: usize) -> Mask {
        if self.0.len() <= number / 64 {
            self.0.resize(number / 64 + 1, 0);
        }
        self.0[number / 64] |= 1 << (number % 64);
        self
    }

    fn has(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }
}

impl Display for Mask {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let end = self.0.len() * 64;
        let starts = (0..end).filter(|number| self.has(*number) && (*number == 0 || !self.has(number - 1)));
        for (position, first) in starts.enumerate() {
            let comma = if position == 0 { "" } else { "," };
            match (first..end).take_while(|number| self.has(*number)).last() {
                Some(last) if last != first => write!(f, "{comma}{first}-{last}")?,
                _ => write!(f, "{comma}{first}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_masks() {
        for (text, words, shown) in [
            ("0", vec![1], "0"),
            ("0-3,7", vec![0x8f], "0-3,7"),
            ("64,1", vec![2, 1], "1,64"),
            (" 1 ,,2-2,", vec![6], "1-2"),
            ("63-65", vec![1 << 63, 3], "63-65"),
            ("", vec![], ""),
        ] {
            let mask = Mask::parse(text, 127).expect(text);
            assert_eq!((mask.words(), mask.to_string().as_str()), (words.as_slice(), shown), "{text:?}");
        }
        assert_eq!(Mask::words_of_ones(2).to_string(), "0-127");
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        for text in ["x", "-1", "1-", "1-2-3", "+1", "0x1", "1 2", "3-1", "128", "0-9876543210", "99999999999999999999"]
        {
            assert!(Mask::parse(text, 127).is_err(), "{text:?}");
        }
    }
}
