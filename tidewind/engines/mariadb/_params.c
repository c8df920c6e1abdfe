/*
 * Text of rows, as LOAD DATA takes it, turned into the parameters of an array binding.
 *
 * Input is whole lines of   field TAB field ... NEWLINE   with backslash, tab and newline escaped and NULL as \N. Output
 * is, for each field, one byte that says whether it is NULL and, if not, its length and bytes as the protocol has them.
 * tidewind/engines/mariadb/params.py holds the same in Python; both give the same bytes and refuse the same text.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* The first tab, newline or backslash at or behind `in`, else `end`. */
static inline const unsigned char *special(const unsigned char *in, const unsigned char *end) {
#ifdef __SSE2__
    const __m128i backslash = _mm_set1_epi8('\\'), tab = _mm_set1_epi8('\t'), newline = _mm_set1_epi8('\n');
    while (end - in >= 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)in);
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(block, backslash),
                                   _mm_or_si128(_mm_cmpeq_epi8(block, tab), _mm_cmpeq_epi8(block, newline)));
        unsigned int mask = (unsigned int)_mm_movemask_epi8(hit);
        if (mask) return in + __builtin_ctz(mask);
        in += 16;
    }
#endif
    while (in < end && *in != '\\' && *in != '\t' && *in != '\n') in++;
    return in;
}

static inline unsigned char *put_length(unsigned char *out, uint64_t size) {
    int bytes = 8;
    if (size < 251) { *out++ = (unsigned char)size; return out; }
    if (size < 1u << 16) { *out++ = 0xfc; bytes = 2; }
    else if (size < 1u << 24) { *out++ = 0xfd; bytes = 3; }
    else *out++ = 0xfe;
    for (int i = 0; i < bytes; i++) *out++ = (unsigned char)(size >> (8 * i));
    return out;
}

/* One field from `in`; `*stop` becomes the place of its tab or newline. NULL if it has none or an unknown escape. */
static unsigned char *bind_field(const unsigned char *in, const unsigned char *end, const unsigned char **stop,
                                 unsigned char *out) {
    const unsigned char *at = special(in, end);
    size_t escapes = 0;
    if (end - in > 2 && in[0] == '\\' && in[1] == 'N' && (in[2] == '\t' || in[2] == '\n')) {
        *stop = in + 2;
        *out++ = 1;
        return out;
    }
    while (at < end && *at == '\\') {
        if (end - at < 2 || (at[1] != 't' && at[1] != 'n' && at[1] != '\\')) return NULL;
        escapes++;
        at = special(at + 2, end);
    }
    if (at == end) return NULL;
    *stop = at;
    *out++ = 0;
    out = put_length(out, (uint64_t)(at - in) - escapes);
    while (escapes--) {
        const unsigned char *mark = memchr(in, '\\', (size_t)(at - in));
        memcpy(out, in, (size_t)(mark - in));
        out += mark - in;
        *out++ = mark[1] == 't' ? '\t' : mark[1] == 'n' ? '\n' : '\\';
        in = mark + 2;
    }
    memcpy(out, in, (size_t)(at - in));
    return out + (at - in);
}

/* Returns the number of output bytes, or -1. Runs without the GIL. */
static Py_ssize_t bind(const unsigned char *in, const unsigned char *end, long columns, unsigned char *start) {
    unsigned char *out = start;
    while (in < end) {
        for (long field = 1; field <= columns; field++) {
            const unsigned char *stop;
            out = bind_field(in, end, &stop, out);
            if (!out || *stop != (field < columns ? '\t' : '\n')) return -1;
            in = stop + 1;
        }
    }
    return out - start;
}

static PyObject *bound(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer text;
    long columns;
    if (!PyArg_ParseTuple(args, "y*l", &text, &columns)) return NULL;
    /* A field of n bytes and its delimiter become at most 2(n + 1): none is that dear but the empty one. */
    PyObject *result = PyBytes_FromStringAndSize(NULL, text.len * 2);
    Py_ssize_t made = -1;
    if (result && columns > 0) {
        const unsigned char *in = text.buf;
        unsigned char *out = (unsigned char *)PyBytes_AS_STRING(result);
        Py_BEGIN_ALLOW_THREADS
        made = bind(in, in + text.len, columns, out);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&text);
    if (!result) return NULL;
    if (made < 0) {
        Py_DECREF(result);
        PyErr_SetString(PyExc_ValueError, "this is not the text of whole rows");
        return NULL;
    }
    if (_PyBytes_Resize(&result, made) < 0) return NULL;
    return result;
}

static PyMethodDef methods[] = {
    {"bound", bound, METH_VARARGS, "The parameters of these rows."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_params", "Rows as parameters of an array binding.", 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__params(void) { return PyModuleDef_Init(&module); }
