//! Values chosen by the fuzzer's bytes, so that a changed byte changes one choice. (proptest's own way, PassThrough, halves
//! what is left for every alternative, and says 0 for ever when nothing is: then its sampling never ends.)

/// The bytes that are left.
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    /// The next byte; 0 at the end.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// One of some values.
    pub fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[usize::from(self.byte()) % values.len()]
    }

    /// As many values as a byte says, but at most so many.
    pub fn list<T>(&mut self, most: u8, mut value: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.byte() % (most + 1)).map(|_| value(self)).collect()
    }
}
