//! Archives as POSIX `ustar` writes them (IEEE Std 1003.1, pax, "ustar Interchange Format"): what every system unpacks. Pure.

/// Everything in an archive begins at a multiple of this.
const BLOCK: usize = 512;

/// The header of a file. Names are ours, so they are short and plain.
pub(super) fn header(name: &str, bytes: u64, modified_s: u64) -> [u8; BLOCK] {
    debug_assert!(name.len() < 100 && name.is_ascii(), "names in an archive are short and plain");
    let mut block = [0; BLOCK];
    put(&mut block, 0, name.as_bytes());
    put(&mut block, 100, b"0000600\0");
    put(&mut block, 108, b"0000000\0");
    put(&mut block, 116, b"0000000\0");
    put(&mut block, 124, format!("{bytes:011o}\0").as_bytes());
    put(&mut block, 136, format!("{modified_s:011o}\0").as_bytes());
    // The sum is taken with spaces where it will stand.
    put(&mut block, 148, b"        ");
    put(&mut block, 156, b"0");
    put(&mut block, 257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Zeros from the end of a file to where the next begins.
pub(super) fn padding(bytes: u64) -> &'static [u8] {
    let over = (bytes % BLOCK as u64) as usize;
    if over == 0 { &[] } else { &[0; BLOCK][over..] }
}

/// The end of an archive.
pub(super) fn end() -> &'static [u8] {
    &[0; 2 * BLOCK]
}

fn put(block: &mut [u8; BLOCK], at: usize, text: &[u8]) {
    let length = text.len().min(BLOCK - at);
    block[at..at + length].copy_from_slice(&text[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_sums_to_what_it_says_and_files_fill_blocks() {
        let block = header("account/0001.jsonl", 1_000, 1_700_000_000);
        assert_eq!(&block[..18], b"account/0001.jsonl");
        assert_eq!(&block[124..136], b"00000001750\0");
        let said = u32::from_str_radix(std::str::from_utf8(&block[148..154]).unwrap(), 8).unwrap();
        let mut blank = block;
        put(&mut blank, 148, b"        ");
        assert_eq!(said, blank.iter().map(|byte| u32::from(*byte)).sum::<u32>());
        for (bytes, padded) in [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511)] {
            assert_eq!(padding(bytes).len(), padded);
        }
    }
}
