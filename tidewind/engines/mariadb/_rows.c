/*
 * Rows as the server sends them, turned into text that LOAD DATA takes back byte for byte.
 *
 * Input is the stream of packets that follows a result set's column definitions, cut anywhere. Output is
 *   field TAB field ... NEWLINE
 * with backslash, tab and newline escaped by a backslash and NULL written as \N. Nothing is ever held back but a few
 * bytes of headers, so memory does not grow with the size of a row. tidewind/engines/mariadb/rows.py holds the same
 * machine in Python and the description of the counters; both give the same bytes.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define ERROR_BYTES_MAX 4096
#define FULL_PACKET 0xffffffu

enum kind { KIND_UNKNOWN, KIND_ROW, KIND_END, KIND_ERROR };

/* ---- XXH64, seed 0 ---- */
static const uint64_t P1 = 0x9E3779B185EBCA87ULL, P2 = 0xC2B2AE3D27D4EB4FULL, P3 = 0x165667B19E3779F9ULL,
                      P4 = 0x85EBCA77C2B2AE63ULL, P5 = 0x27D4EB2F165667C5ULL;

typedef struct {
    uint64_t v1, v2, v3, v4, total;
    unsigned char tail[32];
    unsigned int tail_len;
} xxh;

static inline uint64_t rotl(uint64_t x, int r) { return (x << r) | (x >> (64 - r)); }
static inline uint64_t read64(const unsigned char *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline uint32_t read32(const unsigned char *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t mix(uint64_t acc, uint64_t input) { return rotl(acc + input * P2, 31) * P1; }
static inline uint64_t merge(uint64_t acc, uint64_t v) { return (acc ^ mix(0, v)) * P1 + P4; }

static void xxh_reset(xxh *s) {
    s->v1 = P1 + P2; s->v2 = P2; s->v3 = 0; s->v4 = 0 - P1; s->total = 0; s->tail_len = 0;
}

static void xxh_update(xxh *s, const unsigned char *p, size_t len) {
    s->total += len;
    if (s->tail_len + len < 32) { memcpy(s->tail + s->tail_len, p, len); s->tail_len += (unsigned int)len; return; }
    if (s->tail_len) {
        size_t need = 32 - s->tail_len;
        memcpy(s->tail + s->tail_len, p, need);
        p += need; len -= need;
        s->v1 = mix(s->v1, read64(s->tail)); s->v2 = mix(s->v2, read64(s->tail + 8));
        s->v3 = mix(s->v3, read64(s->tail + 16)); s->v4 = mix(s->v4, read64(s->tail + 24));
        s->tail_len = 0;
    }
    while (len >= 32) {
        s->v1 = mix(s->v1, read64(p)); s->v2 = mix(s->v2, read64(p + 8));
        s->v3 = mix(s->v3, read64(p + 16)); s->v4 = mix(s->v4, read64(p + 24));
        p += 32; len -= 32;
    }
    memcpy(s->tail, p, len);
    s->tail_len = (unsigned int)len;
}

static uint64_t xxh_digest(const xxh *s) {
    uint64_t h;
    const unsigned char *p = s->tail, *end = s->tail + s->tail_len;
    if (s->total >= 32) {
        h = rotl(s->v1, 1) + rotl(s->v2, 7) + rotl(s->v3, 12) + rotl(s->v4, 18);
        h = merge(h, s->v1); h = merge(h, s->v2); h = merge(h, s->v3); h = merge(h, s->v4);
    } else {
        h = P5;
    }
    h += s->total;
    for (; p + 8 <= end; p += 8) h = rotl(h ^ mix(0, read64(p)), 27) * P1 + P4;
    if (p + 4 <= end) { h = rotl(h ^ ((uint64_t)read32(p) * P1), 23) * P2 + P3; p += 4; }
    for (; p < end; p++) h = rotl(h ^ (*p * P5), 11) * P1;
    h ^= h >> 33; h *= P2; h ^= h >> 29; h *= P3; h ^= h >> 32;
    return h;
}

/* ---- the machine ---- */
typedef struct {
    PyObject_HEAD
    uint32_t columns;
    /* where in the packet stream we are */
    unsigned char header[4];
    unsigned int header_len;
    uint32_t packet_left;
    int more;              /* this packet was full: the next one continues it */
    int continued;         /* the packet in hand continues an earlier one */
    int in_packet;
    enum kind kind;
    uint32_t first_len;
    /* where in the row we are */
    uint32_t field;
    unsigned char lenenc[9];
    unsigned int lenenc_len, lenenc_need;
    uint64_t field_left;
    int in_field;
    int row_open;          /* a part of this row went out in an earlier call */
    xxh hash;
    /* results */
    uint64_t rows, row_bytes, open_bytes, checksum;
    Py_ssize_t boundary;
    int finished, failed, busy;
    unsigned char error[ERROR_BYTES_MAX];
    unsigned int error_len;
    unsigned char *scratch;
    size_t scratch_size;
} Converter;

static inline unsigned char *escape(unsigned char *out, const unsigned char *in, size_t len) {
    const unsigned char *end = in + len;
#ifdef __SSE2__
    const __m128i backslash = _mm_set1_epi8('\\'), tab = _mm_set1_epi8('\t'), newline = _mm_set1_epi8('\n');
    while (end - in >= 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)in);
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(block, backslash),
                                   _mm_or_si128(_mm_cmpeq_epi8(block, tab), _mm_cmpeq_epi8(block, newline)));
        unsigned int mask = (unsigned int)_mm_movemask_epi8(hit);
        _mm_storeu_si128((__m128i *)out, block);
        if (!mask) { in += 16; out += 16; continue; }
        unsigned int clean = (unsigned int)__builtin_ctz(mask);
        in += clean; out += clean;
        unsigned char c = *in++;
        *out++ = '\\';
        *out++ = c == '\t' ? 't' : c == '\n' ? 'n' : '\\';
    }
#endif
    while (in < end) {
        unsigned char c = *in++;
        switch (c) {
        case '\\': *out++ = '\\'; *out++ = '\\'; break;
        case '\t': *out++ = '\\'; *out++ = 't'; break;
        case '\n': *out++ = '\\'; *out++ = 'n'; break;
        default: *out++ = c;
        }
    }
    return out;
}

static inline unsigned char *end_field(Converter *c, unsigned char *out) {
    c->field++;
    c->in_field = 0;
    c->lenenc_len = 0;
    if (c->field < c->columns) *out++ = '\t';
    return out;
}

/* Consumes `len` bytes of a row's payload. Returns NULL if the bytes cannot be a row. */
static unsigned char *row_bytes(Converter *c, const unsigned char *in, size_t len, unsigned char *out) {
    const unsigned char *end = in + len;
    while (in < end) {
        if (c->in_field) {
            size_t have = (size_t)(end - in);
            size_t n = c->field_left < have ? (size_t)c->field_left : have;
            out = escape(out, in, n);
            in += n;
            c->field_left -= n;
            if (!c->field_left) out = end_field(c, out);
            continue;
        }
        if (c->field >= c->columns) return NULL;
        unsigned char b = *in++;
        if (!c->lenenc_len) {
            if (b < 0xfb) {
                if (b) { c->field_left = b; c->in_field = 1; } else { out = end_field(c, out); }
                continue;
            }
            if (b == 0xfb) { *out++ = '\\'; *out++ = 'N'; out = end_field(c, out); continue; }
            if (b == 0xff) return NULL;
            c->lenenc_need = b == 0xfc ? 2 : b == 0xfd ? 3 : 8;
            c->lenenc_len = 1;
            continue;
        }
        c->lenenc[c->lenenc_len - 1] = b;
        if (c->lenenc_len++ < c->lenenc_need) continue;
        uint64_t value = 0;
        for (unsigned int i = c->lenenc_need; i > 0; i--) value = value << 8 | c->lenenc[i - 1];
        c->lenenc_len = 0;
        c->field_left = value;
        c->in_field = 1;
        if (!value) out = end_field(c, out);
    }
    return out;
}

/* Returns the number of output bytes, or -1 if the stream is malformed. Runs without the GIL. */
static Py_ssize_t convert(Converter *c, const unsigned char *in, size_t len) {
    const unsigned char *end = in + len;
    unsigned char *out = c->scratch, *row_start = c->scratch;
    while (in < end) {
        if (c->finished) return -1;
        if (!c->in_packet) {
            c->header[c->header_len++] = *in++;
            if (c->header_len < 4) continue;
            c->header_len = 0;
            c->packet_left = (uint32_t)c->header[0] | (uint32_t)c->header[1] << 8 | (uint32_t)c->header[2] << 16;
            c->continued = c->more;
            c->more = c->packet_left == FULL_PACKET;
            c->in_packet = 1;
            if (!c->continued) { c->kind = KIND_UNKNOWN; c->first_len = c->packet_left; }
            if (c->packet_left == 0 && !c->continued) return -1;
        }
        if (c->packet_left) {
            if (in == end) break;
            size_t have = (size_t)(end - in);
            size_t n = c->packet_left < have ? c->packet_left : have;
            if (c->kind == KIND_UNKNOWN) {
                if (*in == 0xff) c->kind = KIND_ERROR;
                else if (*in == 0xfe && c->first_len < 9) c->kind = KIND_END;
                else { c->kind = KIND_ROW; c->field = 0; c->lenenc_len = 0; c->in_field = 0; }
            }
            if (c->kind == KIND_ROW) {
                out = row_bytes(c, in, n, out);
                if (!out) return -1;
            } else if (c->kind == KIND_ERROR) {
                size_t room = ERROR_BYTES_MAX - c->error_len;
                size_t keep = n < room ? n : room;
                memcpy(c->error + c->error_len, in, keep);
                c->error_len += (unsigned int)keep;
            }
            in += n;
            c->packet_left -= (uint32_t)n;
        }
        if (c->packet_left) continue;
        c->in_packet = 0;
        if (c->more) continue;
        if (c->kind == KIND_ROW) {
            if (c->field != c->columns || c->in_field || c->lenenc_len) return -1;
            if (!c->row_open) xxh_reset(&c->hash);
            xxh_update(&c->hash, row_start, (size_t)(out - row_start));
            c->checksum += xxh_digest(&c->hash);
            c->row_open = 0;
            c->rows++;
            c->row_bytes += c->open_bytes + (uint64_t)(out - row_start) + 1;
            c->open_bytes = 0;
            *out++ = '\n';
            row_start = out;
        } else {
            c->finished = 1;
            c->failed = c->kind == KIND_ERROR;
        }
    }
    c->boundary = row_start - c->scratch;
    if (out > row_start) {
        if (!c->row_open) { xxh_reset(&c->hash); c->row_open = 1; }
        xxh_update(&c->hash, row_start, (size_t)(out - row_start));
        c->open_bytes += (uint64_t)(out - row_start);
    }
    return out - c->scratch;
}

static PyObject *converter_feed(Converter *self, PyObject *argument) {
    Py_buffer data;
    Py_ssize_t made;
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "feed is running in another thread");
        return NULL;
    }
    if (PyObject_GetBuffer(argument, &data, PyBUF_SIMPLE) < 0) return NULL;
    size_t worst = (size_t)data.len * 3 + 64;
    if (self->scratch_size < worst) {
        unsigned char *bigger = PyMem_RawRealloc(self->scratch, worst);
        if (!bigger) { PyBuffer_Release(&data); return PyErr_NoMemory(); }
        self->scratch = bigger;
        self->scratch_size = worst;
    }
    self->busy = 1;
    Py_BEGIN_ALLOW_THREADS
    made = convert(self, data.buf, (size_t)data.len);
    Py_END_ALLOW_THREADS
    self->busy = 0;
    PyBuffer_Release(&data);
    if (made < 0) {
        PyErr_SetString(PyExc_ValueError, "the server's answer is not a sequence of rows");
        return NULL;
    }
    return PyBytes_FromStringAndSize((const char *)self->scratch, made);
}

static PyObject *converter_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"columns", NULL};
    int columns;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "i", names, &columns)) return NULL;
    if (columns < 1) {
        PyErr_SetString(PyExc_ValueError, "a result set has at least one column");
        return NULL;
    }
    Converter *self = (Converter *)type->tp_alloc(type, 0);
    if (self) self->columns = (uint32_t)columns;
    return (PyObject *)self;
}

static void converter_dealloc(Converter *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyMem_RawFree(self->scratch);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyObject *get_rows(Converter *self, void *unused) { (void)unused; return PyLong_FromUnsignedLongLong(self->rows); }
static PyObject *get_row_bytes(Converter *self, void *unused) { (void)unused; return PyLong_FromUnsignedLongLong(self->row_bytes); }
static PyObject *get_checksum(Converter *self, void *unused) { (void)unused; return PyLong_FromUnsignedLongLong(self->checksum); }
static PyObject *get_boundary(Converter *self, void *unused) { (void)unused; return PyLong_FromSsize_t(self->boundary); }
static PyObject *get_finished(Converter *self, void *unused) { (void)unused; return PyBool_FromLong(self->finished); }
static PyObject *get_error(Converter *self, void *unused) {
    (void)unused;
    if (!self->failed) Py_RETURN_NONE;
    return PyBytes_FromStringAndSize((const char *)self->error, self->error_len);
}

static PyGetSetDef converter_attributes[] = {
    {"rows", (getter)get_rows, NULL, NULL, NULL},
    {"row_bytes", (getter)get_row_bytes, NULL, NULL, NULL},
    {"checksum", (getter)get_checksum, NULL, NULL, NULL},
    {"boundary", (getter)get_boundary, NULL, NULL, NULL},
    {"finished", (getter)get_finished, NULL, NULL, NULL},
    {"error", (getter)get_error, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef converter_methods[] = {
    {"feed", (PyCFunction)converter_feed, METH_O, "Text of the rows in these bytes of the packet stream."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot converter_slots[] = {
    {Py_tp_new, converter_new},
    {Py_tp_dealloc, converter_dealloc},
    {Py_tp_methods, converter_methods},
    {Py_tp_getset, converter_attributes},
    {0, NULL},
};

static PyType_Spec converter_spec = {
    "tidewind.engines.mariadb._rows.RowConverter", sizeof(Converter), 0, Py_TPFLAGS_DEFAULT, converter_slots,
};

static PyObject *row_hash(PyObject *module, PyObject *argument) {
    (void)module;
    Py_buffer data;
    xxh state;
    if (PyObject_GetBuffer(argument, &data, PyBUF_SIMPLE) < 0) return NULL;
    xxh_reset(&state);
    xxh_update(&state, data.buf, (size_t)data.len);
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLongLong(xxh_digest(&state));
}

static int module_exec(PyObject *module) {
    PyObject *type = PyType_FromSpec(&converter_spec);
    if (!type) return -1;
    int failed = PyModule_AddObjectRef(module, "RowConverter", type);
    Py_DECREF(type);
    return failed;
}

static PyMethodDef module_methods[] = {
    {"row_hash", row_hash, METH_O, "XXH64 of the bytes, seed 0."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_rows", "Rows of a result set as text for LOAD DATA.", 0, module_methods, module_slots,
    NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__rows(void) { return PyModuleDef_Init(&module); }
