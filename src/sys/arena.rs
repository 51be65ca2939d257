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
}

// SAFETY: the runtime has one thread (design: no threads ever), and no signal handler that allocates.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena of which nothing is used yet.
    pub const fn new() -> Arena {
        Arena { bytes: UnsafeCell::new([0; SIZE]), used: Cell::new(0) }
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
        let offset = self.used.get().next_multiple_of(layout.align());
        match offset.checked_add(layout.size()) {
            Some(end) if end <= SIZE && layout.align() <= align_of::<Arena>() => {
                self.used.set(end);
                // SAFETY: `offset` is within the array.
                unsafe { self.start().add(offset) }
            }
            // SAFETY: passed on as it came.
            _ => unsafe { System.alloc(layout) },
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
            self.used.set(offset + size);
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
