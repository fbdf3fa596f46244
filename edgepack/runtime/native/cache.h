/* A cache of 64-byte lines, set-associative, least recently used line out. Included by plugin.c.
 *
 * Two levels of data cache, the second asked for what the first lacks, writes treated as reads.
 * Real caches also prefetch and replace in secret ways: misses here are an input to an estimate. */
enum { LINE_BITS = 6 };

typedef struct {
    uint64_t sets, ways, clock, misses;
    uint64_t *lines, *ages;   /* sets * ways; a line of 0 is empty */
} Cache;

static bool make_cache(Cache *cache, unsigned kib, unsigned ways)
{
    cache->ways = ways;
    cache->sets = ways ? ((uint64_t)kib << 10 >> LINE_BITS) / ways : 0;
    if (cache->sets == 0)
        return false;
    cache->lines = calloc(cache->sets * ways, sizeof *cache->lines);
    cache->ages = calloc(cache->sets * ways, sizeof *cache->ages);
    return cache->lines && cache->ages;
}

/* Look for a line and bring it in; false is a miss, which is counted. */
static bool touch(Cache *cache, uint64_t line)
{
    uint64_t first = line % cache->sets * cache->ways, oldest = first;

    for (uint64_t i = first; i < first + cache->ways; i++) {
        if (cache->lines[i] == line) {
            cache->ages[i] = ++cache->clock;
            return true;
        }
        if (cache->ages[i] < cache->ages[oldest])
            oldest = i;
    }
    cache->lines[oldest] = line;
    cache->ages[oldest] = ++cache->clock;
    cache->misses++;
    return false;
}
