// What a training step does between its matrix products: each in one pass over rows of WIDTH bfloat16 numbers.
//
// Sums are float.  Loops over a row are left to gcc's vectoriser.  `kernels.py` compiles this file and has the same in
// plain torch.

#include <stdint.h>
#include <math.h>

#define TAPS 8
#define BLOCK 32  // numbers of bfloat16 in a cache line

typedef uint16_t bf16;

static inline float load(bf16 x) {
    union { uint32_t bits; float value; } u = {.bits = (uint32_t)x << 16};
    return u.value;
}

static inline bf16 rounded(float x) {  // to nearest, ties to even
    union { float value; uint32_t bits; } u = {.value = x};
    return (bf16)((u.bits + 0x7fff + ((u.bits >> 16) & 1)) >> 16);
}

static inline float half(uint16_t x) {  // gcc 12 has no vectors of _Float16
    union { uint32_t bits; float value; } u = {.bits = (uint32_t)(x & 0x7fff) << 13};
    u.value *= 0x1p112f;
    u.bits |= (uint32_t)(x & 0x8000) << 16;
    return u.value;
}

// y = (x - mean) / deviation * weight + bias; statistics: (mean, 1 / deviation) a row.
void norm_forward(long rows, const bf16 *x, const bf16 *weight, const bf16 *bias, bf16 *y, float *statistics) {
    for (long row = 0; row < rows; row++, x += WIDTH, y += WIDTH) {
        float mean = 0, square = 0;
        for (int d = 0; d < WIDTH; d++) mean += load(x[d]);
        mean /= WIDTH;
        for (int d = 0; d < WIDTH; d++) square += (load(x[d]) - mean) * (load(x[d]) - mean);
        float scale = 1 / sqrtf(square / WIDTH + 1e-5f);
        for (int d = 0; d < WIDTH; d++) y[d] = rounded((load(x[d]) - mean) * scale * load(weight[d]) + load(bias[d]));
        statistics[2 * row] = mean;
        statistics[2 * row + 1] = scale;
    }
}

// Adds to grad_weight and grad_bias.
void norm_backward(long rows, const bf16 *g, const bf16 *x, const bf16 *weight, const float *statistics, bf16 *grad_x,
                   float *grad_weight, float *grad_bias) {
    for (long row = 0; row < rows; row++, g += WIDTH, x += WIDTH, grad_x += WIDTH) {
        float mean = statistics[2 * row], scale = statistics[2 * row + 1], first = 0, second = 0;
        for (int d = 0; d < WIDTH; d++) {
            float normal = (load(x[d]) - mean) * scale, gradient = load(g[d]);
            grad_weight[d] += gradient * normal;
            grad_bias[d] += gradient;
            first += gradient * load(weight[d]);
            second += gradient * load(weight[d]) * normal;
        }
        first /= WIDTH;
        second /= WIDTH;
        for (int d = 0; d < WIDTH; d++) {
            float normal = (load(x[d]) - mean) * scale;
            grad_x[d] = rounded(scale * (load(g[d]) * load(weight[d]) - first - normal * second));
        }
    }
}

// g = 0 where h is not above 0, in place; adds to grad_bias.
void relu_backward(long rows, long width, const bf16 *h, bf16 *g, float *grad_bias) {
    for (long row = 0; row < rows; row++, h += width, g += width)
        for (long d = 0; d < width; d++) {
            bf16 kept = load(h[d]) > 0 ? g[d] : 0;
            g[d] = kept;
            grad_bias[d] += load(kept);
        }
}

// y[t] = x[t] + p[t] + sum_i taps[i] p[t - i stride].
void memory_forward(long size, long steps, long stride, const bf16 *x, const bf16 *p, const float *taps, bf16 *y) {
    for (long b = 0; b < size; b++, x += steps * WIDTH, p += steps * WIDTH, y += steps * WIDTH)
        for (int begin = 0; begin < WIDTH; begin += BLOCK)
            for (long t = 0; t < steps; t++) {
                float sum[BLOCK];
                for (int d = 0; d < BLOCK; d++)
                    sum[d] = load(x[t * WIDTH + begin + d]) + load(p[t * WIDTH + begin + d]);
                for (long i = 0; i < TAPS && i * stride <= t; i++)
                    for (int d = 0; d < BLOCK; d++)
                        sum[d] += taps[i * WIDTH + begin + d] * load(p[(t - i * stride) * WIDTH + begin + d]);
                for (int d = 0; d < BLOCK; d++) y[t * WIDTH + begin + d] = rounded(sum[d]);
            }
}

// grad_p[t] = g[t] + sum_i taps[i] g[t + i stride]; adds sum_t g[t] p[t - i stride] to grad_taps[i].
void memory_backward(long size, long steps, long stride, const bf16 *g, const bf16 *p, const float *taps, bf16 *grad_p,
                     float *grad_taps) {
    for (long b = 0; b < size; b++, g += steps * WIDTH, p += steps * WIDTH, grad_p += steps * WIDTH)
        for (int begin = 0; begin < WIDTH; begin += BLOCK)
            for (long t = 0; t < steps; t++) {
                float sum[BLOCK], own[BLOCK];
                for (int d = 0; d < BLOCK; d++) sum[d] = load(g[t * WIDTH + begin + d]);
                for (int d = 0; d < BLOCK; d++) own[d] = load(p[t * WIDTH + begin + d]);
                for (long i = 0; i < TAPS && t + i * stride < steps; i++)
                    for (int d = 0; d < BLOCK; d++) {
                        float later = load(g[(t + i * stride) * WIDTH + begin + d]);
                        sum[d] += taps[i * WIDTH + begin + d] * later;
                        grad_taps[i * WIDTH + begin + d] += later * own[d];
                    }
                for (int d = 0; d < BLOCK; d++) grad_p[t * WIDTH + begin + d] = rounded(sum[d]);
            }
}

// difference = level - target where the row counts, else 0; returns the sum of its squares.  A row of the target begins
// every `pitch` numbers of float16.
double error_forward(long rows, long pitch, const bf16 *level, const uint16_t *target, const uint8_t *counts,
                     bf16 *difference) {
    double sum = 0;
    for (long row = 0; row < rows; row++, level += WIDTH, target += pitch, difference += WIDTH) {
        float square = 0;
        for (int d = 0; d < WIDTH; d++) {
            float one = (load(level[d]) - half(target[d])) * counts[row];
            difference[d] = rounded(one);
            square += one * one;
        }
        sum += square;
    }
    return sum;
}

// buffer += (scale * gradient - buffer) * (1 - momentum), and y that much of the way from the gradient to the buffer.
void nesterov(long size, double scale, double momentum, const bf16 *gradient, float *buffer, bf16 *y) {
    float kept = momentum, taken = 1 - momentum, factor = scale;
    for (long i = 0; i < size; i++) {
        float own = factor * load(gradient[i]);
        buffer[i] = kept * buffer[i] + taken * own;
        y[i] = rounded(kept * buffer[i] + taken * own);
    }
}

// CTC of one utterance: minus the log-likelihood of the text; infinite where the frames do not suffice.
//
// States are blank, first letter, blank, ... , last letter, blank: 2 length + 1.  Probabilities, not logs, rescaled every
// frame; states that cannot reach the end any more are 0, so that none outweighs those that can.  alpha: scratch, frames *
// states.  Takes from grad, [frames, symbols], how probable each symbol is at each frame, given the text.
// A. Graves et al., "Connectionist Temporal Classification", 2006, section 4.1.
double ctc(long frames, long symbols, const float *log_probs, long length, const int64_t *text, long blank, double *alpha,
           float *grad) {
    long states = 2 * length + 1;
    double loss = 0, beta[states], probability[symbols];
    double padded[states + 2], skip[states + 2], *before = padded + 2, *next = padded;  // two zeros at one end
    int64_t symbol[states];
    for (long s = 0; s < states; s++) symbol[s] = s % 2 ? text[s / 2] : blank;
    for (long s = 0; s < states + 2; s++) {
        skip[s] = s < states && s % 2 && (s == 1 || symbol[s] != symbol[s - 2]);
        padded[s] = s == 1;  // the state before the first, from which the first two are reached
    }
    // 1. Forward.
    for (long t = 0; t < frames; t++) {
        double *now = alpha + t * states, total = 0;
        for (long k = 0; k < symbols; k++) probability[k] = exp(log_probs[t * symbols + k]);
        for (long s = 0; s < states; s++)
            now[s] = (before[s] + before[s - 1] + skip[s] * before[s - 2]) * probability[symbol[s]];
        for (long s = 0; s < states - 2 * (frames - t); s++) now[s] = 0;
        for (long s = 0; s < states; s++) total += now[s];
        if (!(total > 0)) return INFINITY;
        for (long s = 0; s < states; s++) before[s] = now[s] /= total;
        before[-1] = 0;
        loss -= log(total);
    }
    // 2. Backward, from the last two states.
    for (long t = frames - 1; t >= 0; t--) {
        const double *now = alpha + t * states;
        double total = 0, largest = 0;
        for (long s = 0; s < states; s++)
            beta[s] = t == frames - 1 ? s >= states - 2 : next[s] + next[s + 1] + skip[s + 2] * next[s + 2];
        for (long s = 0; s < states; s++) total += now[s] * beta[s];
        if (!(total > 0)) return INFINITY;
        for (long s = 0; s < states; s++) grad[t * symbols + symbol[s]] -= now[s] * beta[s] / total;
        for (long k = 0; k < symbols; k++) probability[k] = exp(log_probs[t * symbols + k]);
        for (long s = 0; s < states; s++) {
            next[s] = beta[s] * probability[symbol[s]];
            largest = next[s] > largest ? next[s] : largest;
        }
        for (long s = 0; s < states; s++) next[s] /= largest;
        next[states] = next[states + 1] = 0;
    }
    return loss;
}
