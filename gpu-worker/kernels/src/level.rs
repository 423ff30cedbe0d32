//! Which vector instructions a kernel may use, found out at run time: one program runs on every x86-64 and elsewhere.
//!
//! A level is an argument of every kernel, so that tests hold each of them against plain arithmetic on one machine.

/// A set of vector instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What every processor of the target has; additions and multiplications round one by one.
    Portable,
    /// AVX2 with fused multiply-add: 8 numbers at a time.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512F: 16 numbers at a time.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The widest this processor has.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma") {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// Every level this processor has.
    pub fn all() -> &'static [Self] {
        #[cfg(target_arch = "x86_64")]
        {
            const ALL: [Level; 3] = [Level::Portable, Level::Avx2, Level::Avx512];
            match Self::best() {
                Self::Portable => &ALL[..1],
                Self::Avx2 => &ALL[..2],
                Self::Avx512 => &ALL,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            &[Self::Portable]
        }
    }
}

/// Plain loops that are compiled once for each level. `FUSED` says whether the level multiplies and adds in one
/// rounding; see [`fma`].
///
/// Implementations of `run` and all they call are `#[inline(always)]`: only then do they take on the level's
/// instructions.
pub(super) trait Loops {
    /// What they come to.
    type Output;
    /// The loops.
    fn run<const FUSED: bool>(self) -> Self::Output;
}

/// Runs the loops with a level's instructions.
pub(super) fn run<L: Loops>(level: Level, loops: L) -> L::Output {
    match level {
        Level::Portable => loops.run::<false>(),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            assert!(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"), "this processor has AVX2");
            #[expect(unsafe_code, reason = "the compiler cannot know what the processor has; it was just asked")]
            // SAFETY: the processor has both features.
            unsafe {
                avx2(loops)
            }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            assert!(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma"), "this has AVX-512");
            #[expect(unsafe_code, reason = "the compiler cannot know what the processor has; it was just asked")]
            // SAFETY: the processor has both features.
            unsafe {
                avx512(loops)
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<L: Loops>(loops: L) -> L::Output {
    loops.run::<true>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn avx512<L: Loops>(loops: L) -> L::Output {
    loops.run::<true>()
}

/// `a * b + c`, in one rounding where the level has it.
#[inline(always)]
#[expect(clippy::inline_always, reason = "only inlined code takes on its caller's instructions")]
pub(super) fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}
