/* Work in C: the same four kinds of work as ../work in Go, without a library. */

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

enum { size = 98304, many = 4096 };

static u8 text[size];
static i64 numbers[many], sorted[many];

#define EXPORT(name) __attribute__((export_name(name)))

EXPORT("_initialize") void initialize(void) {
    u64 x = 1;
    for (int i = 0; i < many; i++) {
        x = x * 6364136223846793005ull + 1442695040888963407ull;
        numbers[i] = (i64)x;
    }
    for (int i = 0; i < size; i++) {
        x = x * 6364136223846793005ull + 1442695040888963407ull;
        text[i] = "abc de,f\n{}:\"01 xyz"[(x >> 33) % 19];
    }
}

static u32 rotated(u32 x, int n) { return x >> n | x << (32 - n); }

/* hash mixes the text as SHA-256 does, with constants of its own. */
EXPORT("hash") u32 hash(u32 n) {
    u32 h[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    while (n--)
        for (int p = 0; p + 64 <= size; p += 64) {
            u32 w[64];
            for (int i = 0; i < 16; i++)
                w[i] = (u32)text[p + 4 * i] << 24 | text[p + 4 * i + 1] << 16 | text[p + 4 * i + 2] << 8 | text[p + 4 * i + 3];
            for (int i = 16; i < 64; i++)
                w[i] = w[i - 16] + (rotated(w[i - 15], 7) ^ rotated(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
                       (rotated(w[i - 2], 17) ^ rotated(w[i - 2], 19) ^ w[i - 2] >> 10);
            u32 a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], k = h[7];
            for (int i = 0; i < 64; i++) {
                u32 t = k + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & f) ^ (~e & g)) + 0x428a2f98u * i + w[i];
                u32 s = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
                k = g, g = f, f = e, e = d + t, d = c, c = b, b = a, a = t + s;
            }
            h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += k;
        }
    return h[0];
}

static void quicksort(i64 *a, int low, int high) {
    while (low < high) {
        i64 middle = a[(low + high) / 2];
        int i = low, j = high;
        while (i <= j) {
            while (a[i] < middle) i++;
            while (a[j] > middle) j--;
            if (i <= j) {
                i64 t = a[i];
                a[i++] = a[j];
                a[j--] = t;
            }
        }
        if (j - low < high - i) {
            quicksort(a, low, j);
            low = i;
        } else {
            quicksort(a, i, high);
            high = j;
        }
    }
}

EXPORT("sort") u32 sort(u32 n) {
    while (n--) {
        for (int i = 0; i < many; i++) sorted[i] = numbers[i];
        quicksort(sorted, 0, many - 1);
    }
    return (u32)sorted[100];
}

EXPORT("scan") u32 scan(u32 n) {
    u32 total = 0;
    while (n--) {
        int word = 0;
        for (int i = 0; i < size; i++) {
            u8 c = text[i];
            int letter = (c | 32) >= 'a' && (c | 32) <= 'z';
            total += c == '\n';
            total += letter && !word;
            word = letter;
        }
    }
    return total;
}

/* json takes the text apart into tokens. */
EXPORT("json") u32 json(u32 n) {
    u32 total = 0;
    for (n = (n + 7) / 8; n--;) {
        int depth = 0, i = 0;
        while (i < size) {
            u8 c = text[i++];
            switch (c) {
            case '{':
                depth++;
                break;
            case '}':
                depth--;
                break;
            case '"':
                while (i < size && text[i] != '"') i++;
                i++, total++;
                break;
            case ' ':
            case '\n':
            case ',':
            case ':':
                break;
            default:
                if (c >= '0' && c <= '9') {
                    u32 v = c - '0';
                    while (i < size && text[i] >= '0' && text[i] <= '9') v = v * 10 + text[i++] - '0';
                    total += v;
                } else {
                    u32 h = 2166136261u ^ c;
                    while (i < size && text[i] >= 'a') h = (h ^ text[i++]) * 16777619u;
                    total += h;
                }
            }
        }
        total += depth;
    }
    return total;
}
