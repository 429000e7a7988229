//! Checks one operation against the reference, or times it beside what this machine can do.
//!
//!     cargo run --release -p sotto-kernels --example kernel -- check|time OP [VARIANT] [THREADS]
//!
//! OP is `decode` or `prefill` (one token or 128 of them times weights, for every format),
//! `attention`, `delta`, `elementwise`, or `all`. VARIANT is one of `reference`, `portable`,
//! `neon`, `neoni8mm`, `avx2`, `avx512`, `avx512vnni`, `amx`; without it, the one that the
//! environment names, or else the fastest.

use sotto_kernels::{
    AttentionShape, BlockType, CHUNK, ConvState, DeltaInput, DeltaScratch, DeltaState, DeltaWeights, HeadLayout,
    InterleavedLayout, KeyValues, KvCache, KvCache8, Matrix, Pool, STRIP, Scratch, Simd, add, attention, delta_rule,
    machine, matmul, reference, rms_norm, sigmoid_mul, silu_mul,
};
use std::process::ExitCode;
use std::time::Instant;

/// Tokens of a piece of a prompt.
const PROMPT: usize = 128;
/// The shape of the larger layers of a model of half a billion weights.
const COLS: usize = 4864;
/// Timed calls. The best of them is what the kernel can do; the median says how much the machine
/// was disturbed.
const ROUNDS: usize = 41;
/// Bytes that are read from memory, not from a cache.
const BEYOND_CACHES: usize = 96 << 20;
const OPERATIONS: [&str; 5] = ["decode", "prefill", "attention", "delta", "elementwise"];
/// The DeltaNet layers of Qwen3.5-0.8B.
const HEADS: HeadLayout = HeadLayout { key_heads: 16, value_heads: 16, key_dim: 128, value_dim: 128, tiled: false };
const TAPS: usize = 4;

struct Bench {
    pool: Pool,
    simd: Simd,
    scratch: Scratch,
    /// Bytes and operations per second that the machine reaches, when they are wanted.
    limits: Option<(f64, f64)>,
    wrong: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}\nusage: kernel check|time {}|all [VARIANT] [THREADS]", OPERATIONS.join("|"));
            ExitCode::from(2)
        }
    }
}

fn run(words: &[&str]) -> Result<bool, String> {
    let (&mode, &op) = words.first().zip(words.get(1)).ok_or("two words are needed")?;
    let simd = match words.get(2) {
        Some(name) => Simd::named(name),
        None => Simd::from_env(),
    };
    let simd = simd.map_err(|e| e.to_string())?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = words.get(3).map_or(Ok(cores), |t| t.parse().map_err(|_| format!("{t}: not a number of threads")))?;
    let timed = ["check", "time"].iter().position(|m| *m == mode).ok_or(format!("{mode}: check or time?"))? == 1;
    let ops: Vec<&str> = OPERATIONS.into_iter().filter(|o| *o == op || op == "all").collect();
    if ops.is_empty() {
        return Err(format!("{op}: no such operation"));
    }
    let mut bench = Bench { pool: Pool::new(threads), simd, scratch: Scratch::default(), limits: None, wrong: false };
    println!("{}, {} threads", simd.name(), bench.pool.threads());
    if timed {
        bench.limits = Some(limits(&bench.pool, simd));
    }
    for op in ops {
        match op {
            "decode" => BlockType::all().for_each(|kind| bench.product(kind, 1)),
            "prefill" => BlockType::all().for_each(|kind| bench.product(kind, PROMPT)),
            "attention" => [(1, 2047), (PROMPT, 0)].into_iter().for_each(|(n, start)| bench.attention(n, start)),
            "delta" => [1, PROMPT].into_iter().for_each(|n| bench.delta(n)),
            _ => bench.elementwise(),
        }
    }
    Ok(!bench.wrong)
}

/// A plain read of more than any cache holds, and multiply-adds in registers.
fn limits(pool: &Pool, simd: Simd) -> (f64, f64) {
    let bytes = vec![1u8; BEYOND_CACHES];
    let read = timed(|| machine::read(pool, simd, &bytes));
    let mut operations = 0;
    let multiply = timed(|| operations = machine::multiply_add(pool, simd, 500));
    let limits = (bytes.len() as f64 / read.0, operations as f64 / multiply.0);
    println!("this machine: reads {:.1} GB/s, multiplies {:.1} GFLOP/s", limits.0 / 1e9, limits.1 / 1e9);
    limits
}

fn packed(layout: &InterleavedLayout, row_bytes: usize, bytes: &[u8]) -> Vec<u8> {
    let mut strips = vec![0; layout.bytes()];
    let pieces = strips.chunks_exact_mut(layout.strip_bytes()).zip(bytes.chunks(STRIP * row_bytes));
    pieces.enumerate().for_each(|(strip, (dst, rows))| layout.pack(strip, rows, dst));
    strips
}

/// Seconds that a call takes: the best and the median of [`ROUNDS`], after one to warm up.
fn timed<T>(mut call: impl FnMut() -> T) -> (f64, f64) {
    call();
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            std::hint::black_box(call());
            begin.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[0], times[ROUNDS / 2])
}

impl Bench {
    /// Checks `y` against `expected`; `scale` is the size of what was summed, of all or of each.
    fn compare(&mut self, name: &str, y: &[f32], expected: &[f32], scale: &[f32]) {
        let off = |((y, e), scale): ((&f32, &f32), &f32)| (y - e).abs() / scale;
        let worst = y.iter().zip(expected).zip(scale.iter().cycle()).map(off).fold(0.0, f32::max);
        let same = worst <= 2e-6 && y.iter().zip(expected).all(|(y, e)| y.is_nan() == e.is_nan());
        self.wrong |= !same;
        println!("{name:24} {} off by {worst:.1e}", if same { "right," } else { "WRONG," });
    }

    fn report(&self, name: &str, (time, median): (f64, f64), bytes: usize, operations: usize) {
        let Some((read, multiply)) = self.limits else { return };
        let (b, o) = (bytes as f64 / time, operations as f64 / time);
        println!(
            "{name:20} {:9.1} µs (median {:5.2}x)  {:6.1} GB/s ({:3.0}%)  {:6.1} GFLOP/s ({:3.0}%)",
            time * 1e6,
            median / time,
            b / 1e9,
            100.0 * b / read,
            o / 1e9,
            100.0 * o / multiply,
        );
    }

    fn product(&mut self, kind: BlockType, n: usize) {
        let name = format!("{} {kind}", if n == 1 { "decode" } else { "prefill" });
        // For many tokens a small layer is enough: memory does not matter.
        let most = if n == 1 { BEYOND_CACHES } else { 4 << 20 };
        let row_bytes = kind.row_bytes(COLS).expect("whole blocks");
        let rows = if self.limits.is_some() { most / row_bytes / 64 * 64 } else { 77 };
        let bytes = weights(kind, rows * row_bytes);
        let strips =
            InterleavedLayout::new(kind, rows, COLS).map(|layout| (packed(&layout, row_bytes, &bytes), layout));
        let w = match &strips {
            Some((strips, layout)) => Matrix::strips(layout, strips),
            None => Matrix::new(kind, rows, COLS, &bytes).expect("a whole matrix"),
        };
        let (x, mut y) = (noise(n * COLS), vec![0.0; n * rows]);
        if self.limits.is_none() {
            let mut expected = y.clone();
            matmul(&self.pool, self.simd, &w, &x, n, &mut y, &mut self.scratch);
            reference::matmul(&w, &x, &mut expected);
            return self.compare(&name, &y, &expected, &magnitudes(&w, &x));
        }
        let time = timed(|| matmul(&self.pool, self.simd, &w, &x, n, &mut y, &mut self.scratch));
        self.report(&name, time, w.bytes().len(), 2 * n * rows * COLS);
    }

    fn attention(&mut self, n: usize, start: usize) {
        let (heads, kv_heads, head_dim) = (14, 2, 64);
        let shape = AttentionShape { heads, kv_heads, head_dim, scale: 0.125, causal: true };
        let mut cache = KvCache::<half::f16>::new(kv_heads, head_dim, start + n);
        let mut cache8 = KvCache8::new(kv_heads, head_dim, start + n);
        let kv = noise((start + n) * kv_heads * head_dim);
        cache.store(0, &kv, &kv);
        cache8.store(0, &kv, &kv);
        self.attention_over(
            &format!("attention {n} at {start}"),
            &shape,
            &cache,
            n,
            start,
            cache.written_bytes(start + n),
        );
        let bytes = cache8.written_bytes(start + n);
        self.attention_over(&format!("attention8 {n} at {start}"), &shape, &cache8, n, start, bytes);
    }

    fn attention_over(
        &mut self,
        name: &str,
        shape: &AttentionShape,
        cache: &impl KeyValues,
        n: usize,
        start: usize,
        bytes: usize,
    ) {
        let width = shape.heads * shape.head_dim;
        let (q, mut out) = (noise(n * width), vec![0.0; n * width]);
        if self.limits.is_none() {
            let mut expected = out.clone();
            attention(&self.pool, self.simd, shape, &q, cache, start, &mut out);
            reference::attention(shape, &q, cache, start, &mut expected);
            return self.compare(name, &out, &expected, &[1.0]);
        }
        let time = timed(|| attention(&self.pool, self.simd, shape, &q, cache, start, &mut out));
        let seen: usize = (0..n).map(|t| start + t + 1).sum();
        self.report(name, time, bytes, 4 * seen * width);
    }

    /// A token behind any number of others, or a piece of a prompt. Layers take turns, so that none
    /// is in a cache.
    fn delta(&mut self, n: usize) {
        let heads = HEADS;
        let layer = DeltaLayer::new(n.max(CHUNK));
        let name = format!("delta {n}");
        let mut scratch = DeltaScratch::default();
        let mut out = vec![0.0; n.max(CHUNK) * heads.value_width()];
        let fresh = || (ConvState::new(heads.channels(), TAPS), DeltaState::new(heads));
        let mut run = |memory: &mut (ConvState, DeltaState), from: usize, out: &mut [f32]| {
            let memory = (&mut memory.0, &mut memory.1);
            let (input, weights) = (layer.input(from, from + n), layer.weights());
            delta_rule(&self.pool, self.simd, &input, &weights, memory, None, &mut scratch, out);
        };
        if self.limits.is_none() {
            let mut memory = fresh();
            for (call, out) in out.chunks_exact_mut(n * heads.value_width()).enumerate() {
                run(&mut memory, call * n, out);
            }
            let expected = layer.truth();
            let most = expected.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
            // A value is a sum over all tokens before it.
            return self.compare(&name, &out, &expected, &[10.0 * most]);
        }
        let calls = CHUNK.div_ceil(n);
        let mut layers: Vec<_> = std::iter::repeat_with(fresh).take(if n == 1 { 48 } else { 2 }).collect();
        let bytes = layers[0].1.step_bytes() + 2 * TAPS * heads.channels() * size_of::<f32>();
        let turns = calls * layers.len();
        let (best, median) = timed(|| {
            for call in 0..calls {
                for memory in &mut layers {
                    run(memory, call * n, &mut out[..n * heads.value_width()]);
                }
            }
        });
        let time = (best / turns as f64, median / turns as f64);
        let products = 4 * n * heads.value_heads * heads.key_dim * heads.value_dim;
        self.report(&name, time, bytes, products);
    }

    fn elementwise(&mut self) {
        let (x, up) = (noise(COLS * 16), noise(COLS * 16 + 1)[1..].to_vec());
        let (simd, weight) = (self.simd, &up[..COLS]);
        let mut y = vec![0.0; x.len()];
        let mut each = |name: &str, op: &mut dyn FnMut(&mut [f32]), truth: &dyn Fn(&mut [f32])| {
            if self.limits.is_some() {
                return self.report(name, timed(|| op(&mut y)), 4 * y.len(), y.len());
            }
            let mut expected = x.clone();
            y.copy_from_slice(&x);
            op(&mut y);
            truth(&mut expected);
            self.compare(name, &y, &expected, &[1.0]);
        };
        each("rms_norm", &mut |y| rms_norm(simd, &x, weight, 1e-6, y), &|y| reference::rms_norm(&x, weight, 1e-6, y));
        each("silu_mul", &mut |y| silu_mul(simd, &up, y), &|y| reference::silu_mul(&up, y));
        each("add", &mut |y| add(simd, &x, y), &|y| reference::add(&x, y));
        each("sigmoid_mul", &mut |y| sigmoid_mul(simd, &up, y), &|y| reference::sigmoid_mul(&up, y));
    }
}

/// What `n` tokens bring to a DeltaNet layer, and its own numbers.
struct DeltaLayer {
    raw: Vec<f32>,
    z: Vec<f32>,
    a: Vec<f32>,
    b: Vec<f32>,
    taps: Vec<f32>,
    rate: Vec<f32>,
    dt_bias: Vec<f32>,
    norm: Vec<f32>,
}

impl DeltaLayer {
    fn new(n: usize) -> DeltaLayer {
        let heads = HEADS.value_heads;
        DeltaLayer {
            raw: noise(n * HEADS.channels()),
            z: noise(n * HEADS.value_width()),
            a: noise(n * heads),
            b: noise(n * heads),
            taps: noise(TAPS * HEADS.channels()),
            rate: (0..heads).map(|head| -0.02 * (head + 1) as f32).collect(),
            dt_bias: noise(heads),
            norm: noise(HEADS.value_dim),
        }
    }

    fn input(&self, from: usize, to: usize) -> DeltaInput<'_> {
        DeltaInput {
            raw: &self.raw[from * HEADS.channels()..to * HEADS.channels()],
            z: &self.z[from * HEADS.value_width()..to * HEADS.value_width()],
            a: &self.a[from * HEADS.value_heads..to * HEADS.value_heads],
            b: &self.b[from * HEADS.value_heads..to * HEADS.value_heads],
        }
    }

    fn weights(&self) -> DeltaWeights<'_> {
        let DeltaLayer { taps, rate, dt_bias, norm, .. } = self;
        DeltaWeights { taps, rate, dt_bias, norm, norm_eps: 1e-6 }
    }

    fn truth(&self) -> Vec<f32> {
        let mixed = reference::mix_heads(&HEADS, &self.taps, &self.raw);
        let mut s = vec![0.0; HEADS.value_heads * HEADS.key_dim * HEADS.value_dim];
        let out = reference::delta_rule(&HEADS, &mixed, &self.z, &self.a, &self.b, &self.weights(), &mut s);
        out.into_iter().map(|value| value as f32).collect()
    }
}

/// Σ |w| |x| for each product.
fn magnitudes(w: &Matrix, x: &[f32]) -> Vec<f32> {
    let mut weights = vec![0.0; w.rows() * w.cols()];
    weights.chunks_exact_mut(w.cols()).enumerate().for_each(|(row, values)| w.unpack_row(row, values));
    let of_row = |w: &[f32], x: &[f32]| w.iter().zip(x).map(|(w, x)| (w * x).abs()).sum();
    let of_token = |x| weights.chunks_exact(w.cols()).map(move |w| of_row(w, x));
    x.chunks_exact(w.cols()).flat_map(of_token).collect()
}

/// Numbers of about ±1 that are the same in every run.
fn noise(len: usize) -> Vec<f32> {
    words(len).map(|w| (w >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

fn words(len: usize) -> impl Iterator<Item = u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..len).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

/// Blocks of random bytes whose scales are small and finite.
fn weights(kind: BlockType, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = words(len.div_ceil(8)).flat_map(u64::to_le_bytes).take(len).collect();
    let halves: &[usize] = match kind {
        BlockType::F32 | BlockType::BF16 | BlockType::Affine(_) => &[],
        BlockType::F16 | BlockType::Q8_0 | BlockType::Q4_0 | BlockType::Q5_0 => &[0],
        BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4_K | BlockType::Q5_K => &[0, 2],
        BlockType::Q2_K => &[80, 82],
        BlockType::Q3_K => &[108],
        BlockType::Q6_K => &[208],
    };
    for block in bytes.chunks_exact_mut(kind.block_bytes()) {
        // The high byte of an f16 between 2^-8 and 2^-7, or of an f32 or bf16 between 1/2 and 2.
        halves.iter().for_each(|at| block[at + 1] = 0x1c | block[at + 1] & 3);
        match kind {
            BlockType::Affine(_) => (block[3], block[7]) = (0x3c, 0xbf),
            _ if halves.is_empty() => block[kind.block_bytes() - 1] = 0x3f,
            _ => {}
        }
    }
    bytes
}
