//! What the targets share: how an input of the fuzzer becomes what a socket would deliver.

pub mod plan;

/// Reads `input` as a number of cuts, the length of each piece, and a stream; gives the stream in those pieces.
///
/// The last piece is what the lengths leave over. Pieces may be empty.
pub fn pieces(input: &[u8]) -> Vec<&[u8]> {
    let (count, rest) = match input.split_first() {
        Some((count, rest)) => (usize::from(*count).min(rest.len()), rest),
        None => (0, input),
    };
    let (lengths, mut stream) = rest.split_at(count);
    let mut pieces = Vec::with_capacity(count + 1);
    for length in lengths {
        let (piece, rest) = stream.split_at(usize::from(*length).min(stream.len()));
        pieces.push(piece);
        stream = rest;
    }
    pieces.push(stream);
    pieces
}
