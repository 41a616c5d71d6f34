//! Chance from a seed, so that a run can be repeated: `SplitMix64`, small and good enough for lives and
//! delays.

/// A stream of numbers that its seed decides.
#[derive(Debug, Clone)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Evenly from 0 up to but not including 1.
    pub fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True for this part of all calls.
    pub fn falls(&mut self, part: f64) -> bool {
        self.unit() < part
    }

    /// One of `0..count`.
    pub fn below(&mut self, count: u32) -> u32 {
        (self.unit() * f64::from(count)) as u32
    }

    /// A life whose end is as likely at any moment as at any other.
    pub fn life(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_are_those_of_the_published_generator() {
        let mut chance = Chance::new(1_234_567);
        let words: Vec<_> = (0..3).map(|_| chance.word()).collect();
        assert_eq!(words, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn lives_have_their_mean_and_parts_their_size() {
        let mut chance = Chance::new(7);
        let lives: f64 = (0..100_000).map(|_| chance.life(5.0)).sum();
        assert!((lives / 100_000.0 - 5.0).abs() < 0.1);
        let fell = (0..100_000).filter(|_| chance.falls(0.3)).count();
        assert!((29_000..31_000).contains(&fell), "{fell}");
        assert!((0..1000).all(|_| chance.below(3) < 3));
    }
}
