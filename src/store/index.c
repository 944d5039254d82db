/* SPDX-License-Identifier: Apache-2.0 */
/* index: linear hashing over buckets of a cache line, in tables that double. */
#include "store/index.h"

#include <errno.h>
#include <string.h>

#define PC_EXTENT_SHRUNK (UINT64_C(1) << 32)

enum {
    PC_INDEX_CHARGE_BYTES = 16 * 1024, /* the pool hears of growth in steps of this */
    PC_INDEX_SHRINK_ITEMS = 2,         /* mean below which buckets are joined again */
    PC_INDEX_RELEASE_COUNT = 32768,    /* overflows given back in one step: 1 MiB, some 50 us */
};

/* Goes through the slots of a chain: the bucket's, then each overflow's. */
struct walk {
    const struct pc_index *index;
    _Atomic uint64_t *slots;
    _Atomic uint32_t *overflow; /* the link behind the present node */
    unsigned count, i;
};

static struct walk walk_begin(const struct pc_index *index, struct pc_bucket *bucket)
{
    return (struct walk){
        .index = index,
        .slots = bucket->slots,
        .overflow = &bucket->overflow,
        .count = PC_BUCKET_SLOTS,
    };
}

/* The next slot, empty ones too; NULL at the end. */
static inline _Atomic uint64_t *walk_next(struct walk *walk)
{
    if (PC_UNLIKELY(walk->i == walk->count)) {
        const uint32_t number = atomic_load_explicit(walk->overflow, memory_order_relaxed);
        if (number == 0) {
            return NULL;
        }
        struct pc_overflow *node = pc_index_overflow_at(walk->index, number);
        walk->slots = node->slots;
        walk->overflow = &node->overflow;
        walk->count = PC_OVERFLOW_SLOTS;
        walk->i = 0;
    }
    return &walk->slots[walk->i++];
}

static inline uint64_t slot_own(const _Atomic uint64_t *slot)
{
    return atomic_load_explicit(slot, memory_order_relaxed);
}

static inline void slot_store(_Atomic uint64_t *slot, uint64_t value)
{
    /* Release: the item's bytes are written before; pairs with a peek's acquire of the slot. */
    PC_POINT("chain: slot");
    atomic_store_explicit(slot, value, memory_order_release);
}

static uint64_t extent_of(const struct pc_index *index)
{
    return atomic_load_explicit(&index->extent, memory_order_relaxed);
}

static void account(struct pc_index *index)
{
    const uint64_t bytes = (pc_index_bytes(index) + PC_INDEX_CHARGE_BYTES - 1) &
                           ~(uint64_t)(PC_INDEX_CHARGE_BYTES - 1);
    if (bytes > index->charged_bytes) {
        pc_pool_charge(index->pool, bytes - index->charged_bytes);
    } else if (bytes < index->charged_bytes) {
        pc_pool_discharge(index->pool, index->charged_bytes - bytes);
    }
    index->charged_bytes = bytes;
}

static size_t bucket_table_bytes(uint32_t table)
{
    const size_t count = (size_t)PC_INDEX_BUCKETS_FIRST << (table == 0 ? 0 : table - 1);
    return count * sizeof(struct pc_bucket);
}

static size_t overflow_table_bytes(uint32_t table)
{
    const size_t count = (size_t)PC_INDEX_OVERFLOWS_FIRST << (table == 0 ? 0 : table - 1);
    return count * sizeof(struct pc_overflow);
}

/* Map the table that node `number` lies in. */
static bool table_ready(struct pc_index *index, uint32_t number)
{
    uint32_t table;
    (void)pc_index_locate(number, PC_INDEX_BUCKETS_FIRST, &table);
    if (table >= PC_INDEX_TABLES_MAX) {
        return false;
    }
    if (atomic_load_explicit(&index->tables[table], memory_order_relaxed) != NULL) {
        return true;
    }
    const struct pc_memory *memory = index->pool->memory;
    void *at = memory->map(memory->ctx, bucket_table_bytes(table));
    atomic_store_explicit(&index->tables[table], at, memory_order_release);
    return at != NULL;
}

static bool overflow_table_ready(struct pc_index *index, uint32_t number)
{
    uint32_t table;
    (void)pc_index_locate(number, PC_INDEX_OVERFLOWS_FIRST, &table);
    if (table >= PC_INDEX_TABLES_MAX) {
        return false;
    }
    if (atomic_load_explicit(&index->overflows[table], memory_order_relaxed) != NULL) {
        return true;
    }
    const struct pc_memory *memory = index->pool->memory;
    void *at = memory->map(memory->ctx, overflow_table_bytes(table));
    atomic_store_explicit(&index->overflows[table], at, memory_order_release);
    return at != NULL;
}

int pc_index_init(struct pc_index *index, struct pc_pool *pool, pc_key_hash_fn *hash,
                  uint64_t hash_seed)
{
    *index = (struct pc_index){
        .pool = pool,
        .hash = hash,
        .hash_seed = hash_seed,
        .overflow_end = 1,
    };
    if (!table_ready(index, 0)) {
        return -ENOMEM;
    }
    atomic_init(&index->extent, PC_INDEX_BUCKETS_FIRST);
    account(index);
    return 0;
}

void pc_index_fini(struct pc_index *index)
{
    const struct pc_memory *memory = index->pool->memory;
    for (uint32_t i = 0; i < PC_INDEX_TABLES_MAX; i++) {
        struct pc_bucket *buckets = atomic_load_explicit(&index->tables[i], memory_order_relaxed);
        if (buckets != NULL) {
            memory->unmap(memory->ctx, buckets, bucket_table_bytes(i));
        }
        struct pc_overflow *nodes =
            atomic_load_explicit(&index->overflows[i], memory_order_relaxed);
        if (nodes != NULL) {
            memory->unmap(memory->ctx, nodes, overflow_table_bytes(i));
        }
    }
    pc_pool_discharge(index->pool, index->charged_bytes);
}

uint64_t pc_index_bytes(const struct pc_index *index)
{
    return (uint64_t)pc_index_bucket_count(index) * sizeof(struct pc_bucket) +
           (uint64_t)index->overflow_high * sizeof(struct pc_overflow);
}

/* Most keys have 8 to 16 bytes: two words, which may overlap, without a call. */
static inline bool bytes_equal(const uint8_t *a, const uint8_t *b, size_t count)
{
    uint64_t first[2], last[2];
    if (PC_UNLIKELY(count - 8 > 8)) {
        return memcmp(a, b, count) == 0;
    }
    memcpy(&first[0], a, 8);
    memcpy(&first[1], b, 8);
    memcpy(&last[0], a + count - 8, 8);
    memcpy(&last[1], b + count - 8, 8);
    return ((first[0] ^ first[1]) | (last[0] ^ last[1])) == 0;
}

static inline bool key_is(const struct pc_index *index, uint64_t slot, const struct pc_key *key)
{
    const struct pc_item *item = pc_pool_at(index->pool, pc_slot_place(slot));
    const uint32_t shape = pc_word_own(&item->shape);
    return pc_shape_key_bytes(shape) == key->bytes &&
           bytes_equal(pc_item_key(item, shape), key->at, key->bytes);
}

/* The first of `count` slots that leads to the key; false: none. */
static inline bool slots_find(const struct pc_index *index, _Atomic uint64_t *slots, unsigned count,
                              uint64_t wanted, const struct pc_key *key, struct pc_slot_at *out_at)
{
    const uint64_t tag_mask =
        (UINT64_C(1) << (PC_PLACE_BITS + PC_TAG_BITS)) - (UINT64_C(1) << PC_PLACE_BITS);
    for (unsigned i = 0; i < count; i++) {
        const uint64_t value = slot_own(&slots[i]);
        if ((value & tag_mask) == wanted && value != 0 && key_is(index, value, key)) {
            out_at->slot = &slots[i];
            out_at->value = value;
            return true;
        }
    }
    return false;
}

inline bool pc_index_find(const struct pc_index *index, const struct pc_key *key,
                          struct pc_slot_at *out_at)
{
    struct pc_bucket *bucket = pc_index_bucket(index, key->hash);
    const uint64_t wanted = (uint64_t)pc_hash_tag(key->hash) << PC_PLACE_BITS;
    struct pc_slot_at at = {.bucket = bucket};
    bool found = slots_find(index, bucket->slots, PC_BUCKET_SLOTS, wanted, key, &at);
    uint32_t number = atomic_load_explicit(&bucket->overflow, memory_order_relaxed);
    while (!found && number != 0) {
        struct pc_overflow *node = pc_index_overflow_at(index, number);
        found = slots_find(index, node->slots, PC_OVERFLOW_SLOTS, wanted, key, &at);
        number = atomic_load_explicit(&node->overflow, memory_order_relaxed);
    }
    if (found) {
        *out_at = at;
    }
    return found;
}

static uint64_t hash_at(const struct pc_index *index, uint64_t slot)
{
    const struct pc_item *item = pc_pool_at(index->pool, pc_slot_place(slot));
    const uint32_t shape = pc_word_own(&item->shape);
    return index->hash(pc_item_key(item, shape), pc_shape_key_bytes(shape), index->hash_seed);
}

bool pc_index_find_hash(const struct pc_index *index, uint64_t hash, struct pc_slot_at *out_at)
{
    struct pc_bucket *bucket = pc_index_bucket(index, hash);
    struct walk walk = walk_begin(index, bucket);
    for (_Atomic uint64_t *slot = walk_next(&walk); slot != NULL; slot = walk_next(&walk)) {
        const uint64_t value = slot_own(slot);
        if (value != 0 && pc_slot_tag(value) == pc_hash_tag(hash) &&
            hash_at(index, value) == hash) {
            *out_at = (struct pc_slot_at){.bucket = bucket, .slot = slot, .value = value};
            return true;
        }
    }
    return false;
}

bool pc_index_find_place(const struct pc_index *index, uint64_t hash, uint64_t place,
                         struct pc_slot_at *out_at)
{
    struct pc_bucket *bucket = pc_index_bucket(index, hash);
    struct walk walk = walk_begin(index, bucket);
    for (_Atomic uint64_t *slot = walk_next(&walk); slot != NULL; slot = walk_next(&walk)) {
        const uint64_t value = slot_own(slot);
        if (pc_slot_place(value) == place) {
            *out_at = (struct pc_slot_at){.bucket = bucket, .slot = slot, .value = value};
            return true;
        }
    }
    return false;
}

static uint32_t overflow_take(struct pc_index *index)
{
    uint32_t number = index->overflow_free;
    if (number != 0) {
        const struct pc_overflow *node = pc_index_overflow_at(index, number);
        index->overflow_free = atomic_load_explicit(&node->overflow, memory_order_relaxed);
    } else {
        number = index->overflow_end;
        if (!overflow_table_ready(index, number)) {
            return 0;
        }
        index->overflow_end++;
        if (index->overflow_end > index->overflow_high) {
            index->overflow_high += PC_INDEX_OVERFLOWS_FIRST; /* another page */
        }
    }
    index->overflow_used++;
    return number;
}

static void overflow_give(struct pc_index *index, uint32_t number)
{
    struct pc_overflow *node = pc_index_overflow_at(index, number);
    atomic_store_explicit(&node->overflow, index->overflow_free, memory_order_release);
    index->overflow_free = number;
    index->overflow_used--;
}

/* Put `value` into an empty slot of the chain, within its odd window. The first overflow is the
 * only one with empty slots, and there is none while the bucket has one. */
static bool chain_put(struct pc_index *index, struct pc_bucket *bucket, uint64_t value)
{
    for (unsigned i = 0; i < PC_BUCKET_SLOTS; i++) {
        if (slot_own(&bucket->slots[i]) == 0) {
            slot_store(&bucket->slots[i], value);
            return true;
        }
    }
    const uint32_t first = atomic_load_explicit(&bucket->overflow, memory_order_relaxed);
    if (first != 0) {
        struct pc_overflow *node = pc_index_overflow_at(index, first);
        for (unsigned i = 0; i < PC_OVERFLOW_SLOTS; i++) {
            if (slot_own(&node->slots[i]) == 0) {
                slot_store(&node->slots[i], value);
                return true;
            }
        }
    }
    const uint32_t number = overflow_take(index);
    if (number == 0) {
        return false;
    }
    struct pc_overflow *node = pc_index_overflow_at(index, number);
    slot_store(&node->slots[0], value);
    atomic_store_explicit(&node->overflow, first, memory_order_release);
    atomic_store_explicit(&bucket->overflow, number, memory_order_release);
    return true;
}

/* Empty a slot of the chain, within its odd window, and fill the hole from the first overflow. */
static void chain_drop(struct pc_index *index, struct pc_bucket *bucket, _Atomic uint64_t *slot)
{
    slot_store(slot, 0);
    const uint32_t first = atomic_load_explicit(&bucket->overflow, memory_order_relaxed);
    if (first == 0) {
        return;
    }
    struct pc_overflow *node = pc_index_overflow_at(index, first);
    unsigned filled = 0;
    _Atomic uint64_t *last = NULL;
    for (unsigned i = 0; i < PC_OVERFLOW_SLOTS; i++) {
        if (slot_own(&node->slots[i]) != 0) {
            last = &node->slots[i];
            filled++;
        }
    }
    if (last != NULL && (slot < &node->slots[0] || slot > &node->slots[PC_OVERFLOW_SLOTS - 1])) {
        slot_store(slot, slot_own(last));
        slot_store(last, 0);
        filled--;
    }
    if (filled == 0) {
        atomic_store_explicit(&bucket->overflow,
                              atomic_load_explicit(&node->overflow, memory_order_relaxed),
                              memory_order_release);
        overflow_give(index, first);
    }
}

static unsigned chain_length(const struct pc_index *index, struct pc_bucket *bucket)
{
    unsigned count = 0;
    struct walk walk = walk_begin(index, bucket);
    for (_Atomic uint64_t *slot = walk_next(&walk); slot != NULL; slot = walk_next(&walk)) {
        count += slot_own(slot) != 0;
    }
    return count;
}

static unsigned chain_copy(const struct pc_index *index, struct pc_bucket *bucket, uint64_t *slots,
                           unsigned room)
{
    unsigned count = 0;
    struct walk walk = walk_begin(index, bucket);
    for (_Atomic uint64_t *slot = walk_next(&walk); slot != NULL; slot = walk_next(&walk)) {
        const uint64_t value = slot_own(slot);
        if (value != 0) {
            if (count < room) {
                slots[count] = value;
            }
            count++;
        }
    }
    return count;
}

unsigned pc_index_chain(const struct pc_index *index, uint32_t bucket_number, uint64_t *slots,
                        unsigned room)
{
    return chain_copy(index, pc_index_bucket_at(index, bucket_number), slots, room);
}

bool pc_index_insert(struct pc_index *index, uint64_t hash, uint64_t slot)
{
    struct pc_bucket *bucket = pc_index_bucket(index, hash);
    if (PC_UNLIKELY(atomic_load_explicit(&bucket->overflow, memory_order_relaxed) != 0) &&
        chain_length(index, bucket) >= PC_CHAIN_SLOTS_MAX) {
        return false;
    }
    pc_chain_open(bucket);
    const bool put = chain_put(index, bucket, slot);
    pc_chain_close(bucket);
    if (put) {
        index->item_count++;
        account(index);
    }
    return put;
}

void pc_index_replace(struct pc_slot_at *at, uint64_t slot)
{
    pc_chain_open(at->bucket);
    slot_store(at->slot, slot);
    pc_chain_close(at->bucket);
    at->value = slot;
}

void pc_index_remove(struct pc_index *index, const struct pc_slot_at *at)
{
    pc_chain_open(at->bucket);
    chain_drop(index, at->bucket, at->slot);
    pc_chain_close(at->bucket);
    index->item_count--;
}

/* Move the slots of `from` that belong to bucket `number` of `count` into it; both are odd. */
static void move_slots(struct pc_index *index, struct pc_bucket *from, struct pc_bucket *into,
                       uint32_t number, uint32_t count)
{
    uint64_t slots[PC_CHAIN_SLOTS_MAX];
    const unsigned slot_count = chain_copy(index, from, slots, PC_CHAIN_SLOTS_MAX);
    for (unsigned i = 0; i < slot_count; i++) {
        __builtin_prefetch(pc_pool_at(index->pool, pc_slot_place(slots[i])));
    }
    for (unsigned i = 0; i < slot_count; i++) {
        if (pc_index_bucket_number(hash_at(index, slots[i]), count) != number) {
            continue;
        }
        if (!chain_put(index, into, slots[i])) {
            /* Room for it was made sure of before. */
            PC_ASSERT(false);
        }
        struct walk walk = walk_begin(index, from);
        _Atomic uint64_t *slot = walk_next(&walk);
        while (slot_own(slot) != slots[i]) {
            slot = walk_next(&walk);
        }
        chain_drop(index, from, slot);
    }
}

/* Whether a chain of `count` slots can be put anywhere without asking for memory. */
static bool overflow_room(struct pc_index *index, unsigned count)
{
    const uint32_t nodes = count / PC_OVERFLOW_SLOTS + 1;
    return overflow_table_ready(index, index->overflow_end) &&
           overflow_table_ready(index, index->overflow_end + nodes);
}

bool pc_index_grow(struct pc_index *index)
{
    const uint32_t count = pc_index_bucket_count(index);
    if (index->item_count <= (uint64_t)count * PC_INDEX_ITEMS_PER_BUCKET || count == UINT32_MAX) {
        return false;
    }
    struct pc_bucket *from = pc_index_bucket_at(
        index, pc_index_bucket_number(count, count)); /* where the new bucket's hashes are now */
    if (!table_ready(index, count) || !overflow_room(index, chain_length(index, from))) {
        return false;
    }
    struct pc_bucket *into = pc_index_bucket_at(index, count);
    if (atomic_load_explicit(&into->version, memory_order_relaxed) < index->version_floor) {
        atomic_store_explicit(&into->version, index->version_floor, memory_order_release);
    }
    pc_chain_open(from);
    pc_chain_open(into);
    move_slots(index, from, into, count, count + 1);
    /* Release, within the odd windows: a peek that saw the old count re-reads it at its end. */
    atomic_store_explicit(&index->extent, extent_of(index) + 1, memory_order_release);
    pc_chain_close(into);
    pc_chain_close(from);
    index->split_count++;
    account(index);
    return true;
}

/* Buckets from `count` on are gone: give their memory back when a whole step of it is unused. A
 * stale reader finds zeros there, and then that the index has shrunk. */
static void release_end(struct pc_index *index, uint32_t count)
{
    const struct pc_memory *memory = index->pool->memory;
    const uint32_t step = PC_INDEX_CHARGE_BYTES / sizeof(struct pc_bucket);
    const uint32_t version =
        atomic_load_explicit(&pc_index_bucket_at(index, count)->version, memory_order_relaxed);
    if (version > index->version_floor) {
        index->version_floor = version;
    }
    if (count % step == 0) {
        memory->release(memory->ctx, pc_index_bucket_at(index, count), PC_INDEX_CHARGE_BYTES);
        account(index);
    }
}

bool pc_index_shrink(struct pc_index *index)
{
    const uint32_t count = pc_index_bucket_count(index);
    if (count <= PC_INDEX_BUCKETS_FIRST ||
        index->item_count >= (uint64_t)count * PC_INDEX_SHRINK_ITEMS) {
        return false;
    }
    struct pc_bucket *from = pc_index_bucket_at(index, count - 1);
    struct pc_bucket *into =
        pc_index_bucket_at(index, pc_index_bucket_number(count - 1, count - 1));
    const unsigned moved = chain_length(index, from);
    if (!overflow_room(index, moved) || moved + chain_length(index, into) > PC_CHAIN_SLOTS_MAX) {
        return false;
    }
    pc_chain_open(into);
    pc_chain_open(from);
    move_slots(index, from, into, pc_index_bucket_number(count - 1, count - 1), count - 1);
    atomic_store_explicit(&index->extent, extent_of(index) - 1 + PC_EXTENT_SHRUNK,
                          memory_order_release);
    pc_chain_close(from);
    pc_chain_close(into);
    release_end(index, count - 1);
    return true;
}

/* With no overflow in use all are as good as never used; from the last one down their memory goes
 * back. A stale reader finds zeros there, and then that its bucket has changed. */
bool pc_index_release(struct pc_index *index)
{
    if (index->overflow_used == 0) {
        index->overflow_end = 1;
        index->overflow_free = 0;
    }
    if (index->overflow_high <= PC_INDEX_OVERFLOWS_FIRST) {
        return false;
    }
    const uint32_t page = PC_INDEX_OVERFLOWS_FIRST;
    const uint32_t used = (index->overflow_end + page - 1) / page * page;
    const uint32_t high = index->overflow_high;
    uint32_t table;
    uint32_t low = high - page - pc_index_locate(high - page, PC_INDEX_OVERFLOWS_FIRST, &table);
    low = low < used ? used : low;
    if (low >= high) {
        return false;
    }
    low = high - low > PC_INDEX_RELEASE_COUNT ? high - PC_INDEX_RELEASE_COUNT : low;
    const struct pc_memory *memory = index->pool->memory;
    memory->release(memory->ctx, pc_index_overflow_at(index, low),
                    (size_t)(high - low) * sizeof(struct pc_overflow));
    index->overflow_high = low;
    account(index);
    return true;
}
