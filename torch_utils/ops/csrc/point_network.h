// A small network at many points, a block of them at a time: what Python calls (torch_utils/ops/point_network.py).
//
// Products, activations and readouts are made in one pass, and what passes between layers stays in the nearest caches.
// The backward pass keeps nothing of the forward pass: it computes a block again, and leaves out points that have no
// gradient. Weights' gradients are summed in float32, slice by slice of the points, the same whatever the threads.
#pragma once

#include "point_arithmetic.h"

namespace point_network {

constexpr int64_t MAX_WIDTH = 256, MAX_OUTPUTS = 64;
constexpr int64_t POINTS = 48;

// What all points share. Widths are padded to multiples of 16; weights' words are along their inputs.
template <typename A, typename Activation>
struct Network {
    typedef typename A::Word Word;

    const float* points;    // [B, N, I]
    const float* first;     // [W, I, C], W is B or 1
    const Word* weights;    // [W, L - 1, C / PER_WORD, C]
    const float* biases;    // [W, L, C]
    const float* heads;     // [L, O, C]
    const int64_t* headed;  // [L] whether a layer has a readout; in the CPU's memory
    int64_t batch, count, inputs, width, layers, outputs, people;

    int64_t blocks() const { return (count + POINTS - 1) / POINTS; }
    int64_t words() const { return width / A::PER_WORD; }
    int64_t weight_words() const { return words() * width; }
    int64_t activations() const { return POINTS * width; }  // words of a block's activations of a layer, in both forms
    // In a layer's activations, where words along points begin.
    int64_t pairs() const { return A::SAME_WORDS ? 0 : POINTS * words(); }

    // A layer of a block: `in` is null for the first one, which reads `place`. KEEP: slopes are wanted.
    template <bool KEEP>
    void layer(int64_t l, int64_t person, const float* place, const Word* in, Word* out, float* slope,
               Lanes* total) const {
        const int64_t which = people == 1 ? 0 : person;
        const float* bias = biases + (which * layers + l) * width;
        const float* head = headed[l] && total ? heads + l * outputs * width : nullptr;
        for_columns(width, [&](auto v, int64_t c) {
            constexpr int V = decltype(v)::value;
            for (int64_t p = 0; p < POINTS; p += ROWS) {
                Lanes sum[ROWS][V];
                for (int r = 0; r < ROWS; ++r)
                    for (int n = 0; n < V; ++n) sum[r][n] = lanes::load(bias + c + n * LANES);
                if (l == 0)
                    multiply<Single, ROWS, V>(place + p * inputs, inputs, 1, first + which * inputs * width + c, width,
                                              inputs, sum);
                else
                    multiply<A, ROWS, V>(in + p * words(), words(), 1,
                                         weights + (which * (layers - 1) + l - 1) * weight_words() + c, width, words(),
                                         sum);
                for (int r = 0; r < ROWS; ++r)
                    for (int n = 0; n < V; ++n) {
                        Lanes slopes;
                        Activation::apply(sum[r][n], sum[r][n], slopes);
                        if (KEEP) lanes::store(slopes, slope + (p + r) * width + c + n * LANES);
                    }
                store<V>(sum, p, c, out);
                if (head) read_out<V>(sum, head + c, total + p * outputs);
            }
        });
    }

    template <int V>
    void store(const Lanes (&value)[ROWS][V], int64_t p, int64_t c, Word* out) const {
        for (int r = 0; r < ROWS; r += 2)
            for (int n = 0; n < V; ++n) {
                const int64_t column = c + n * LANES;
                Word* row = out + (p + r) * words() + column / A::PER_WORD;
                A::store_rows(value[r][n], value[r + 1][n], row, row + words(),
                              out + pairs() + (p + r) / A::PER_WORD * width + column);
            }
    }

    // total[r][o] += products with a readout's weights; what is in its lanes is added up in the end.
    template <int V>
    void read_out(const Lanes (&value)[ROWS][V], const float* head, Lanes* total) const {
        for (int64_t o = 0; o < outputs; ++o, head += width) {
            Lanes factor[V];
            for (int n = 0; n < V; ++n) factor[n] = lanes::load(head + n * LANES);
            for (int r = 0; r < ROWS; ++r) {
                Lanes sum = total[r * outputs + o];
                for (int n = 0; n < V; ++n) sum = multiply_add(value[r][n], factor[n], sum);
                total[r * outputs + o] = sum;
            }
        }
    }
};

template <typename A, typename Activation>
struct Forward : Network<A, Activation> {
    typedef typename A::Word Word;
    const float* shift;  // [O]
    float* result;       // [B, N, O]

    void operator()(int64_t task) const {
        alignas(64) float place[POINTS * MAX_WIDTH];
        alignas(64) Word buffer[2][POINTS * MAX_WIDTH];
        alignas(64) Lanes total[POINTS * MAX_OUTPUTS];
        const int64_t person = task / this->blocks(), start = task % this->blocks() * POINTS, I = this->inputs;
        const int64_t here = this->count - start < POINTS ? this->count - start : POINTS, O = this->outputs;
        memcpy(place, this->points + (person * this->count + start) * I, here * I * sizeof(float));
        for (int64_t i = here * I; i < POINTS * I; ++i) place[i] = 0;
        for (int64_t i = 0; i < POINTS * O; ++i) total[i] = Lanes{};
        for (int64_t l = 0; l < this->layers; ++l)
            this->template layer<false>(l, person, place, buffer[(l + 1) % 2], buffer[l % 2], nullptr, total);
        float* to = result + (person * this->count + start) * O;
        for (int64_t i = 0; i < here * O; ++i) to[i] = shift[i % O] + horizontal(total[i]);
    }
};

template <typename A, typename Activation>
struct Backward : Network<A, Activation> {
    typedef typename A::Word Word;
    const Word* transposed;  // [W, L - 1, C / PER_WORD, C] weights, whose words are along their outputs
    const float* gradient;   // [B, N, O]
    int64_t slices;          // of every person's points: what follows has B * slices rows, zeros at first
    float* scratch;          // scratch_size() numbers a row
    float* to_points;        // [B, N, I], zeros at first; these may be null, the last four together
    float* to_first;         // [I, C]
    float* to_weights;       // [L - 1, C, C]
    float* to_biases;        // [L, C]
    float* to_heads;         // [L, O, C]

    int64_t scratch_size() const {
        return (2 * this->layers + 2) * this->activations() + POINTS * (this->inputs + this->outputs);
    }

    void operator()(int64_t slice) const {
        const int64_t person = slice / slices, part = slice % slices, size = (this->count + slices - 1) / slices;
        const int64_t end = (part + 1) * size < this->count ? (part + 1) * size : this->count, O = this->outputs;
        int64_t index[POINTS], found = 0;
        for (int64_t p = part * size; p < end; ++p) {
            const float* row = gradient + (person * this->count + p) * O;
            bool any = false;
            for (int64_t o = 0; o < O; ++o) any |= row[o] != 0;
            if (any) index[found++] = p;
            if (found == POINTS || (found > 0 && p + 1 == end)) block(slice, person, index, found), found = 0;
        }
        if (found > 0) block(slice, person, index, found);
    }

    void block(int64_t slice, int64_t person, const int64_t* index, int64_t found) const {
        const int64_t I = this->inputs, C = this->width, O = this->outputs, L = this->layers;
        const int64_t size = this->activations(), from = person * this->count;
        float* slopes = scratch + slice * scratch_size();                 // [L, POINTS, C]
        Word* values = reinterpret_cast<Word*>(slopes + L * size);        // [L] activations
        Word* inner[2] = {values + L * size, values + (L + 1) * size};    // gradients of what activations are of
        float* place = slopes + (2 * L + 2) * size;                       // [POINTS, I]
        float* outer = place + POINTS * I;                                // [POINTS, O]
        for (int64_t p = 0; p < POINTS; ++p) {
            for (int64_t i = 0; i < I; ++i) place[p * I + i] = p < found ? this->points[(from + index[p]) * I + i] : 0;
            for (int64_t o = 0; o < O; ++o) outer[p * O + o] = p < found ? gradient[(from + index[p]) * O + o] : 0;
        }
        for (int64_t l = 0; l < L; ++l)
            this->template layer<true>(l, person, place, values + (l - 1) * size, values + l * size, slopes + l * size,
                                       nullptr);
        for (int64_t l = L - 1; l >= 0; --l) {
            Word* mine = inner[l % 2];
            inner_gradient(l, person, inner[(l + 1) % 2], outer, slopes + l * size, mine, slice);
            if (!to_first) continue;
            if (this->headed[l])
                add_outers<Widened<A>>(O, outer, O, values + l * size, this->words(), POINTS, C,
                                       to_heads + (slice * L + l) * O * C);
            if (l == 0)
                add_outers<Single>(I, place, I, slopes, C, POINTS, C, to_first + slice * I * C);
            else
                add_outers<A>(C, values + (l - 1) * size + this->pairs(), C, mine + this->pairs(), C,
                              POINTS / A::PER_WORD, C, to_weights + (slice * (L - 1) + l - 1) * C * C);
        }
        if (to_points) point_gradient(person, index, found, slopes);
    }

    // Of what a layer's activation is of: from the layer `above` it and from its readout. Words go to `mine`; the first
    // layer's are plain numbers, in place of its slopes.
    void inner_gradient(int64_t l, int64_t person, const Word* above, const float* outer, float* slope, Word* mine,
                        int64_t slice) const {
        const int64_t C = this->width, L = this->layers, O = this->outputs, which = this->people == 1 ? 0 : person;
        float* bias = to_biases ? to_biases + (slice * L + l) * C : nullptr;
        for_columns(C, [&](auto v, int64_t c) {
            constexpr int V = decltype(v)::value;
            for (int64_t p = 0; p < POINTS; p += ROWS) {
                Lanes sum[ROWS][V] = {};
                if (l + 1 < L)
                    multiply<A, ROWS, V>(above + p * this->words(), this->words(), 1,
                                         transposed + (which * (L - 1) + l) * this->weight_words() + c, C,
                                         this->words(), sum);
                if (this->headed[l])
                    multiply<Single, ROWS, V>(outer + p * O, O, 1, this->heads + l * O * C + c, C, O, sum);
                for (int n = 0; n < V; ++n) {
                    Lanes all_points{};
                    for (int r = 0; r < ROWS; ++r) {
                        float* here = slope + (p + r) * C + c + n * LANES;
                        sum[r][n] *= lanes::load(here);
                        all_points += sum[r][n];
                        if (l == 0) lanes::store(sum[r][n], here);
                    }
                    float* there = bias + c + n * LANES;
                    if (bias) lanes::store(lanes::load(there) + all_points, there);
                }
                if (l > 0) this->template store<V>(sum, p, c, mine);
            }
        });
    }

    void point_gradient(int64_t person, const int64_t* index, int64_t found, const float* inner) const {
        const int64_t I = this->inputs, C = this->width;
        const float* first = this->first + (this->people == 1 ? 0 : person) * I * C;
        for (int64_t p = 0; p < found; ++p)
            for (int64_t i = 0; i < I; ++i) {
                Lanes sum{};
                for (int64_t c = 0; c < C; c += LANES)
                    sum = multiply_add(lanes::load(inner + p * C + c), lanes::load(first + i * C + c), sum);
                to_points[(person * this->count + index[p]) * I + i] = horizontal(sum);
            }
    }
};
}  // namespace point_network

#define NETWORK(A)                                                                                                     \
    const float *points, const float *first, const point_network::A::Word *weights, const float *biases,              \
        const float *heads, const int64_t *headed, int64_t batch, int64_t count, int64_t inputs, int64_t width,       \
        int64_t layers, int64_t outputs, int64_t people
#define GRADIENTS(A)                                                                                                   \
    const point_network::A::Word *transposed, const float *gradient, int64_t slices, float *scratch,                  \
        float *to_points, float *to_first, float *to_weights, float *to_biases, float *to_heads

#define POINT_NETWORK(NAME, A, ACTIVATION)                                                                             \
    ENTRY void point_network_##NAME(NETWORK(A), const float* shift, float* result, THREADS) {                         \
        using namespace point_network;                                                                                 \
        const Network<A, ACTIVATION> network{points, first, weights, biases,  heads,  headed, batch,                   \
                                             count,  inputs, width,  layers, outputs, people};                         \
        const Forward<A, ACTIVATION> forward{network, shift, result};                                                  \
        for_each(batch* network.blocks(), 1, threads, forward);                                                        \
    }                                                                                                                  \
    ENTRY void point_network_##NAME##_backward(NETWORK(A), GRADIENTS(A), THREADS) {                                    \
        using namespace point_network;                                                                                 \
        const Network<A, ACTIVATION> network{points, first, weights, biases,  heads,  headed, batch,                   \
                                             count,  inputs, width,  layers, outputs, people};                         \
        const Backward<A, ACTIVATION> backward{network, transposed, gradient,   slices,    scratch, to_points,         \
                                               to_first, to_weights, to_biases, to_heads};                             \
        for_each(batch* slices, 1, threads, backward);                                                                 \
    }

POINT_NETWORK(sine_float, Single, Sine)
POINT_NETWORK(relu_float, Single, Relu)
#ifdef HAS_PAIRS
POINT_NETWORK(sine_bf16, Pairs, Sine)
#endif

// Whether there is a network in bfloat16 here, and the points of a block.
ENTRY void point_network_facts(int64_t* result, THREADS) {
    (void)threads;
    result[0] = point_network::knows_pairs(), result[1] = point_network::POINTS;
}
