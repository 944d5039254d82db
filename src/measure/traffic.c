/* SPDX-License-Identifier: Apache-2.0 */
/* traffic: every random decision of a request, each from a stream of its own so that changing one
 * (say, the mix) leaves the others as they were. */
#include "measure/traffic.h"

#include "base/check.h"
#include "measure/contents.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct alias {
    double keep;
    uint32_t other;
};

struct pc_traffic {
    struct pc_traffic_config config;
    struct pc_random operations, lives, connections, services, misses;
    struct pc_popularity popularity;
    double mix_sums[PC_OPERATION_COUNT]; /* cumulative, the last is 1 */
    double life_sums[PC_TRAFFIC_LIVES_MAX];
    unsigned source_index, source_count;
    unsigned connection_count, heavy_count; /* of this source */
    double share;
    double deciles_per_rank;
    uint64_t sequence;
    uint64_t hash, hashed_count;
    struct alias *aliases; /* NULL: equal weights */
};

static const char *const operation_names[] = {
#define PC_OPERATION(name, text, writes, help) text,
#include "measure/operations.def"
#undef PC_OPERATION
};

static const bool operation_writes[] = {
#define PC_OPERATION(name, text, writes, help) writes,
#include "measure/operations.def"
#undef PC_OPERATION
};

#define NAME(name, text, help) text,
static const char *const weights_names[] = {PC_WEIGHTS_KINDS(NAME)};
static const char *const service_names[] = {PC_SERVICE_LAWS(NAME)};
#undef NAME

const char *pc_operation_name(enum pc_operation operation)
{
    return operation_names[operation];
}

bool pc_operation_writes(enum pc_operation operation)
{
    return operation_writes[operation];
}

int pc_operation_find(const char *name, size_t name_bytes, enum pc_operation *out_operation)
{
    for (unsigned i = 0; i < PC_OPERATION_COUNT; i++) {
        if (strlen(operation_names[i]) == name_bytes &&
            memcmp(operation_names[i], name, name_bytes) == 0) {
            *out_operation = i;
            return 0;
        }
    }
    return -ENOENT;
}

const char *pc_weights_kind_name(enum pc_weights_kind kind)
{
    return weights_names[kind];
}

int pc_weights_kind_find(const char *name, enum pc_weights_kind *out_kind)
{
    for (unsigned i = 0; i < PC_WEIGHTS_KIND_COUNT; i++) {
        if (strcmp(name, weights_names[i]) == 0) {
            *out_kind = i;
            return 0;
        }
    }
    return -ENOENT;
}

const char *pc_service_law_name(enum pc_service_law law)
{
    return service_names[law];
}

int pc_traffic_mix_parse(const char *text, double mix[PC_OPERATION_COUNT])
{
    double parsed[PC_OPERATION_COUNT] = {0}, sum = 0;
    while (*text != '\0') {
        const size_t name_bytes = strcspn(text, "=,");
        enum pc_operation operation;
        if (pc_operation_find(text, name_bytes, &operation) != 0) {
            return -EINVAL;
        }
        text += name_bytes;
        double weight = 1;
        if (*text == '=') {
            char *end;
            weight = strtod(text + 1, &end);
            if (end == text + 1 || !isfinite(weight) || weight < 0) {
                return -EINVAL;
            }
            text = end;
        }
        if (*text == ',' && text[1] != '\0') {
            text++;
        } else if (*text != '\0') {
            return -EINVAL;
        }
        parsed[operation] = weight;
        sum += weight;
    }
    if (sum <= 0) {
        return -EINVAL;
    }
    memcpy(mix, parsed, sizeof(parsed));
    return 0;
}

uint64_t pc_service_draw(enum pc_service_law law, double mean_ns, struct pc_random *random)
{
    /* Short and long of a thousand times as long: 0.995 s + 0.005 × 1000 s is the mean. */
    const double shinjuku_short = mean_ns / (0.995 + 0.005 * 1000);
    const double u = pc_random_unit(random);
    switch (law) {
    case PC_SERVICE_EXPONENTIAL:
        return (uint64_t)(-mean_ns * log1p(-u));
    case PC_SERVICE_B90:
        return (uint64_t)(mean_ns * (u < 0.9 ? 0.5 : 5.5));
    case PC_SERVICE_B999:
        return (uint64_t)(mean_ns * (u < 0.999 ? 0.5 : 500.5));
    case PC_SERVICE_SHINJUKU:
        return (uint64_t)(u < 0.995 ? shinjuku_short : 1000 * shinjuku_short);
    case PC_SERVICE_LN1:
    case PC_SERVICE_LN2: {
        const double sigma = law == PC_SERVICE_LN1 ? 1 : 2;
        /* Box and Muller; the mean of a lognormal is exp(mu + sigma² / 2). */
        const double v = pc_random_unit(random);
        const double normal = sqrt(-2 * log1p(-u)) * cos(2 * M_PI * v);
        return (uint64_t)(mean_ns * exp(sigma * normal - sigma * sigma / 2));
    }
    case PC_SERVICE_FIXED:
    case PC_SERVICE_LAW_COUNT:
        break;
    }
    return (uint64_t)mean_ns;
}

static unsigned heavy_count_of(const struct pc_traffic_config *config)
{
    const unsigned tenth = config->connection_count / 10;
    return config->weights == PC_WEIGHTS_EQUAL ? config->connection_count : tenth == 0 ? 1 : tenth;
}

/* Weight of connection `index` of the whole run; the weights of all sum to about one. */
static double weight_of(const struct pc_traffic_config *config, unsigned index)
{
    const unsigned count = config->connection_count, heavy = heavy_count_of(config);
    switch (config->weights) {
    case PC_WEIGHTS_ZIPF:
        return 1.0 / (index + 1);
    case PC_WEIGHTS_TENTH:
        return index < heavy ? 0.9 / heavy : 0.1 / (count - heavy);
    case PC_WEIGHTS_EQUAL:
    case PC_WEIGHTS_KIND_COUNT:
        break;
    }
    return 1.0 / count;
}

/* Walker's alias table by Vose's method: one draw tells the connection. */
static int aliases_fill(struct pc_traffic *traffic, const double *weights, double sum)
{
    const unsigned count = traffic->connection_count;
    uint32_t *stack = malloc(count * sizeof(stack[0]));
    double *scaled = malloc(count * sizeof(scaled[0]));
    traffic->aliases = calloc(count, sizeof(traffic->aliases[0]));
    const bool ready = stack != NULL && scaled != NULL && traffic->aliases != NULL;
    if (ready) {
        /* Small ones grow from the bottom of the stack, large ones from its top. */
        unsigned small = 0, large = count;
        for (unsigned i = 0; i < count; i++) {
            scaled[i] = weights[i] * count / sum;
            stack[scaled[i] < 1 ? small++ : --large] = i;
        }
        while (small > 0 && large < count) {
            const uint32_t poor = stack[--small], rich = stack[large];
            traffic->aliases[poor] = (struct alias){scaled[poor], rich};
            scaled[rich] -= 1 - scaled[poor];
            if (scaled[rich] < 1) {
                large++;
                stack[small++] = rich;
            }
        }
        while (small > 0) {
            traffic->aliases[stack[--small]].keep = 1;
        }
        for (; large < count; large++) {
            traffic->aliases[stack[large]].keep = 1;
        }
    }
    free(stack);
    free(scaled);
    return ready ? 0 : -ENOMEM;
}

static int weights_fill(struct pc_traffic *traffic)
{
    const struct pc_traffic_config *config = &traffic->config;
    double *mine = calloc(traffic->connection_count + 1, sizeof(mine[0]));
    if (mine == NULL) {
        return -ENOMEM;
    }
    double all = 0, sum = 0;
    const unsigned heavy = heavy_count_of(config);
    for (unsigned i = 0; i < config->connection_count; i++) {
        const double weight = weight_of(config, i);
        all += weight;
        if (i % traffic->source_count == traffic->source_index) {
            mine[i / traffic->source_count] = weight;
            sum += weight;
            traffic->heavy_count += i < heavy;
        }
    }
    traffic->share = sum / all;
    int error = 0;
    if (config->weights != PC_WEIGHTS_EQUAL && traffic->connection_count > 0) {
        error = aliases_fill(traffic, mine, sum);
    }
    free(mine);
    return error;
}

static void sums_fill(struct pc_traffic *traffic)
{
    double sum = 0, lives = 0;
    for (unsigned i = 0; i < PC_OPERATION_COUNT; i++) {
        sum += traffic->config.mix[i];
    }
    for (unsigned i = 0; i < PC_TRAFFIC_LIVES_MAX; i++) {
        lives += traffic->config.lives[i].share;
    }
    double mix_before = 0, lives_before = 0;
    for (unsigned i = 0; i < PC_OPERATION_COUNT; i++) {
        mix_before += traffic->config.mix[i];
        traffic->mix_sums[i] = mix_before >= sum ? 1 : mix_before / sum;
    }
    for (unsigned i = 0; i < PC_TRAFFIC_LIVES_MAX; i++) {
        lives_before += traffic->config.lives[i].share;
        traffic->life_sums[i] = lives_before >= lives ? 1 : lives_before / lives;
    }
}

struct pc_traffic *pc_traffic_create(const struct pc_traffic_config *config, unsigned source_index,
                                     unsigned source_count)
{
    PC_ASSERT(source_index < source_count && source_count <= config->connection_count);
    PC_ASSERT(config->multi_get_count <= PC_TRAFFIC_MULTI_GET_MAX);
    struct pc_traffic *traffic = calloc(1, sizeof(*traffic));
    if (traffic == NULL) {
        return NULL;
    }
    traffic->config = *config;
    traffic->source_index = source_index;
    traffic->source_count = source_count;
    traffic->connection_count =
        (config->connection_count - source_index + source_count - 1) / source_count;
    sums_fill(traffic);
    /* The last rank times this stays below ten: 2^40 ranks leave a double twelve bits to spare. */
    traffic->deciles_per_rank = PC_TRAFFIC_DECILES / (double)config->popularity.key_count;
    struct pc_random seeds;
    pc_random_init(&seeds, config->seed * 0x10001 + source_index);
    pc_random_init(&seeds, pc_random_next(&seeds));
    pc_random_init(&traffic->operations, pc_random_next(&seeds));
    pc_random_init(&traffic->lives, pc_random_next(&seeds));
    pc_random_init(&traffic->connections, pc_random_next(&seeds));
    pc_random_init(&traffic->services, pc_random_next(&seeds));
    pc_random_init(&traffic->misses, pc_random_next(&seeds));
    pc_popularity_init(&traffic->popularity, &config->popularity, pc_random_next(&seeds));
    /* Sources that walk the ranks in turn share them out. */
    const uint64_t walk = config->popularity.walk_count > 0 ? config->popularity.walk_count
                                                            : config->popularity.key_count;
    traffic->popularity.sequence = pc_traffic_walk_begin(walk, source_index, source_count);
    if (weights_fill(traffic) != 0) {
        pc_traffic_destroy(traffic);
        return NULL;
    }
    return traffic;
}

void pc_traffic_destroy(struct pc_traffic *traffic)
{
    if (traffic != NULL) {
        free(traffic->aliases);
        free(traffic);
    }
}

static uint32_t connection_draw(struct pc_traffic *traffic)
{
    const uint32_t column =
        (uint32_t)pc_random_below(&traffic->connections, traffic->connection_count);
    if (traffic->aliases == NULL) {
        return column;
    }
    const struct alias *alias = &traffic->aliases[column];
    return pc_random_unit(&traffic->connections) < alias->keep ? column : alias->other;
}

static uint32_t life_draw(struct pc_traffic *traffic)
{
    unsigned i = 0;
    if (traffic->config.lives[1].share > 0) {
        const double u = pc_random_unit(&traffic->lives);
        while (i + 1 < PC_TRAFFIC_LIVES_MAX && u >= traffic->life_sums[i]) {
            i++;
        }
    }
    return traffic->config.lives[i].seconds;
}

static enum pc_operation operation_draw(struct pc_traffic *traffic)
{
    const double u = pc_random_unit(&traffic->operations);
    unsigned i = 0;
    while (u >= traffic->mix_sums[i]) {
        i++;
    }
    return i;
}

static void key_plan(struct pc_traffic *traffic, struct pc_planned *planned)
{
    const struct pc_traffic_config *config = &traffic->config;
    const struct pc_pick pick = pc_popularity_draw(&traffic->popularity, planned->intended_ns);
    enum pc_key_class class = PC_KEY_VALUE;
    uint64_t number = pick.key;
    planned->decile = (uint8_t)((double)pick.rank * traffic->deciles_per_rank);
    if (planned->operation == PC_OPERATION_INCR || config->counters) {
        class = PC_KEY_COUNTER;
    } else if (config->miss_share > 0 || config->one_time_share > 0) {
        const double u = pc_random_unit(&traffic->misses);
        if (u < config->one_time_share) {
            class = PC_KEY_ONE_TIME;
            number = traffic->sequence * traffic->source_count + traffic->source_index;
        } else if (!operation_writes[planned->operation] &&
                   u - config->one_time_share < config->miss_share * (1 - config->one_time_share)) {
            class = PC_KEY_ABSENT;
        }
    }
    planned->key = pc_key_of(class, number);
}

static void hash_add(struct pc_traffic *traffic, const struct pc_planned *planned)
{
    const bool closed = traffic->config.closed;
    const uint64_t parts[] = {planned->key, planned->more_seed,
                              (uint64_t)planned->operation << 32 | planned->life_s,
                              closed ? 0 : planned->intended_ns, closed ? 0 : planned->connection};
    for (size_t i = 0; i < PC_COUNT_OF(parts); i++) {
        struct pc_random step;
        pc_random_init(&step, traffic->hash ^ parts[i]);
        traffic->hash = pc_random_next(&step);
    }
    traffic->hashed_count++;
}

/* What a frame asks for is not a key but a number and some work. */
static void frame_plan(struct pc_traffic *traffic, struct pc_planned *planned)
{
    const struct pc_traffic_config *config = &traffic->config;
    planned->key = traffic->sequence * traffic->source_count + traffic->source_index;
    planned->decile = 0;
    planned->life_s = 0;
    if (config->service_ns_mean > 0) {
        planned->more_seed =
            pc_service_draw(config->service_law, config->service_ns_mean, &traffic->services);
    }
}

void pc_traffic_next(struct pc_traffic *traffic, uint64_t intended_ns,
                     struct pc_planned *out_planned)
{
    struct pc_planned *planned = out_planned;
    planned->intended_ns = intended_ns;
    planned->more_seed = 0;
    planned->version =
        (uint32_t)(traffic->sequence * traffic->source_count + traffic->source_index);
    planned->connection = connection_draw(traffic);
    planned->key_count = 1;
    planned->operation = (uint8_t)operation_draw(traffic);
    if (planned->operation == PC_OPERATION_FRAME) {
        frame_plan(traffic, planned);
    } else {
        key_plan(traffic, planned);
        planned->life_s = life_draw(traffic);
        if (planned->operation == PC_OPERATION_MULTI_GET) {
            planned->key_count = (uint16_t)traffic->config.multi_get_count;
            planned->more_seed = pc_random_next(&traffic->misses);
        }
    }
    if (PC_UNLIKELY(traffic->hashed_count < PC_TRAFFIC_HASHED)) {
        hash_add(traffic, planned);
    }
    traffic->sequence++;
}

void pc_traffic_more_begin(const struct pc_traffic *traffic, const struct pc_planned *planned,
                           struct pc_popularity *out_walk)
{
    *out_walk = traffic->popularity;
    pc_random_init(&out_walk->random, planned->more_seed);
    out_walk->sequence = planned->key + 1;
}

uint64_t pc_traffic_more_next(struct pc_popularity *walk, const struct pc_planned *planned)
{
    return pc_key_of(PC_KEY_VALUE, pc_popularity_draw(walk, planned->intended_ns).key);
}

unsigned pc_traffic_connection_count(const struct pc_traffic *traffic)
{
    return traffic->connection_count;
}

double pc_traffic_share(const struct pc_traffic *traffic)
{
    return traffic->share;
}

unsigned pc_traffic_connection_class(const struct pc_traffic *traffic, unsigned connection)
{
    return connection < traffic->heavy_count ? 0 : 1;
}

uint64_t pc_traffic_hash(const struct pc_traffic *traffic)
{
    return traffic->hash;
}

uint64_t pc_traffic_hashed_count(const struct pc_traffic *traffic)
{
    return traffic->hashed_count;
}
