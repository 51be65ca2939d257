//! Memory for a program that ends soon: taken from one piece, one after the other, and given back only if it was the last.
//!
//! Nearly all that a command allocates it needs to its end, or nearly so, and what is given back one by one costs twice: the
//! bookkeeping is a quarter of all instructions, and after the clone each page that it writes to is copied. What does not fit
//! into the piece any more, as in a command that stays, is the C library's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};

/// How much there is, in bytes. Pages that nobody touches cost nothing.
const SIZE: usize = 1 << 20;

/// The allocator of the program.
#[repr(C, align(4096))]
pub struct Arena {
    bytes: UnsafeCell<[u8; SIZE]>,
    used: Cell<usize>,
    /// From here on nothing was ever used, and all is zero.
    untouched: Cell<usize>,
}

// SAFETY: the runtime has one thread (design: no threads ever), and no signal handler that allocates.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena of which nothing is used yet.
    pub const fn new() -> Arena {
        Arena { bytes: UnsafeCell::new([0; SIZE]), used: Cell::new(0), untouched: Cell::new(0) }
    }

    /// Takes a piece from the end, if there is room for it.
    fn take(&self, layout: Layout) -> Option<usize> {
        let offset = self.used.get().next_multiple_of(layout.align());
        let end = offset.checked_add(layout.size())?;
        (end <= SIZE && layout.align() <= align_of::<Arena>()).then(|| {
            self.set_used(end);
            offset
        })
    }

    fn set_used(&self, end: usize) {
        self.used.set(end);
        self.untouched.set(self.untouched.get().max(end));
    }

    fn start(&self) -> *mut u8 {
        self.bytes.get().cast()
    }

    /// Where in the arena a pointer points to, if it does.
    fn offset(&self, pointer: *mut u8) -> Option<usize> {
        (pointer as usize).checked_sub(self.start() as usize).filter(|offset| *offset < SIZE)
    }
}

impl Default for Arena {
    fn default() -> Arena {
        Arena::new()
    }
}

// SAFETY: pieces do not overlap, as `used` is past all that were handed out and not taken back; they are as large and as
// aligned as asked, the arena itself being aligned to a page, and larger alignments left to the C library.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            // SAFETY: the offset is within the array.
            Some(offset) => unsafe { self.start().add(offset) },
            // SAFETY: passed on as it came.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let untouched = self.untouched.get();
        let Some(offset) = self.take(layout) else {
            // SAFETY: passed on as it came.
            return unsafe { System.alloc_zeroed(layout) };
        };
        let used = untouched.saturating_sub(offset).min(layout.size());
        // SAFETY: the piece is within the array, and this part of it is no longer than the whole.
        unsafe {
            let piece = self.start().add(offset);
            piece.write_bytes(0, used);
            piece
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        match self.offset(pointer) {
            Some(offset) if offset + layout.size() == self.used.get() => self.used.set(offset),
            Some(_) => {}
            // SAFETY: what is not ours came from there.
            None => unsafe { System.dealloc(pointer, layout) },
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(offset) = self.offset(pointer) else {
            // SAFETY: what is not ours came from there.
            return unsafe { System.realloc(pointer, layout, size) };
        };
        if offset + layout.size() == self.used.get() && size <= SIZE - offset {
            self.set_used(offset + size);
            return pointer;
        }
        if size <= layout.size() {
            return pointer;
        }
        // SAFETY: the caller vouches for size and alignment, and for the old piece, which the new one does not overlap.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                new.copy_from_nonoverlapping(pointer, layout.size());
            }
            new
        }
    }
}

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Arena({} of {SIZE} used)", self.used.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a layout")
    }

    #[test]
    fn the_last_piece_is_given_back_and_grows_where_it_is() {
        static ARENA: Arena = Arena::new();
        let arena = &ARENA;
        // SAFETY: each piece is used as it was asked for, and not after it was given back.
        unsafe {
            let first = arena.alloc(layout(10, 1));
            let second = arena.alloc(layout(8, 8));
            assert_eq!((second as usize % 8, second as usize - first as usize), (0, 16));
            first.write_bytes(7, 10);
            assert_eq!(arena.realloc(second, layout(8, 8), 100), second, "the last one");
            let moved = arena.realloc(first, layout(10, 1), 11);
            assert!(moved > second, "not the last one");
            assert_eq!(std::slice::from_raw_parts(moved, 10), [7; 10]);
            arena.dealloc(moved, layout(11, 1));
            assert_eq!(arena.alloc(layout(1, 1)), moved, "given back");
        }
    }

    #[test]
    fn zeroed_memory_is_zero_also_where_it_was_used_before() {
        static ARENA: Arena = Arena::new();
        let arena = &ARENA;
        // SAFETY: as above.
        unsafe {
            let piece = arena.alloc(layout(64, 1));
            piece.write_bytes(1, 64);
            arena.dealloc(piece, layout(64, 1));
            let again = arena.alloc_zeroed(layout(128, 1));
            assert_eq!(again, piece);
            assert!(std::slice::from_raw_parts(again, 128).iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn what_does_not_fit_is_the_c_librarys() {
        static ARENA: Arena = Arena::new();
        let arena = &ARENA;
        // SAFETY: as above.
        unsafe {
            let small = arena.alloc(layout(100, 1));
            small.write_bytes(3, 100);
            let large = arena.realloc(small, layout(100, 1), SIZE + 1);
            assert!(arena.offset(large).is_none() && arena.offset(small).is_some());
            assert_eq!(std::slice::from_raw_parts(large, 100), [3; 100]);
            let larger = arena.realloc(large, layout(SIZE + 1, 1), 2 * SIZE);
            arena.dealloc(larger, layout(2 * SIZE, 1));
            let aligned = arena.alloc(layout(16, 2 * align_of::<Arena>()));
            assert!(arena.offset(aligned).is_none());
            arena.dealloc(aligned, layout(16, 2 * align_of::<Arena>()));
        }
    }
}
