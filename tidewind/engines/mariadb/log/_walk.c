/*
 * Takes the binary log out of its packets and cuts it into transactions, as packets.py and transactions.py do and
 * describe. Both twins give the same bytes, groups and failures, however the stream is cut.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define HEADER_BYTES 19u
#define HELD_BYTES 8192u
#define FULL_PACKET 0xffffffu
#define ERROR_BYTES_MAX 4096u
#define NAME_BYTES_MAX 512u

static inline uint16_t get16(const unsigned char *p) { return (uint16_t)(p[0] | p[1] << 8); }
static inline uint32_t get32(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t get64(const unsigned char *p) { return (uint64_t)get32(p) | (uint64_t)get32(p + 4) << 32; }

/* ---- CRC-32, eight bytes at a time ---- */
static uint32_t crc_table[8][256];

static void crc_prepare(void) {
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t c = n;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
        crc_table[0][n] = c;
    }
    for (uint32_t n = 0; n < 256; n++)
        for (int k = 1; k < 8; k++)
            crc_table[k][n] = crc_table[0][crc_table[k - 1][n] & 0xff] ^ (crc_table[k - 1][n] >> 8);
}

static uint32_t crc32_of(uint32_t crc, const unsigned char *p, size_t len) {
    crc = ~crc;
    while (len >= 8) {
        uint32_t low = crc ^ get32(p), high = get32(p + 4);
        crc = crc_table[7][low & 0xff] ^ crc_table[6][(low >> 8) & 0xff] ^ crc_table[5][(low >> 16) & 0xff] ^
              crc_table[4][low >> 24] ^ crc_table[3][high & 0xff] ^ crc_table[2][(high >> 8) & 0xff] ^
              crc_table[1][(high >> 16) & 0xff] ^ crc_table[0][high >> 24];
        p += 8;
        len -= 8;
    }
    while (len--) crc = crc_table[0][(crc ^ *p++) & 0xff] ^ (crc >> 8);
    return ~crc;
}

/* ---- types of events ---- */
enum {
    QUERY = 2, STOP = 3, ROTATE = 4, INTVAR = 5, APPEND_BLOCK = 9, DELETE_FILE = 11, RAND = 13, USER_VAR = 14,
    FORMAT_DESCRIPTION = 15, XID = 16, BEGIN_LOAD_QUERY = 17, EXECUTE_LOAD_QUERY = 18, TABLE_MAP = 19,
    INCIDENT = 26, HEARTBEAT = 27, XA_PREPARE = 38, ANNOTATE_ROWS = 160, BINLOG_CHECKPOINT = 161, GTID = 162,
    GTID_LIST = 163, START_ENCRYPTION = 164, QUERY_COMPRESSED = 165, DELETE_ROWS_COMPRESSED = 171
};
enum { CLASS_OUTSIDE = 1, CLASS_INSIDE = 2, CLASS_GOES_ON = 4 };
static unsigned char class_of[256];

static void classes_prepare(void) {
    static const unsigned char outside[] = {STOP, ROTATE, HEARTBEAT, ANNOTATE_ROWS, BINLOG_CHECKPOINT, GTID_LIST,
                                            START_ENCRYPTION};
    static const unsigned char goes_on[] = {INTVAR, RAND, USER_VAR, TABLE_MAP, ANNOTATE_ROWS, BEGIN_LOAD_QUERY,
                                            APPEND_BLOCK};
    static const unsigned char inside[] = {QUERY, XID, XA_PREPARE, EXECUTE_LOAD_QUERY, DELETE_FILE,
                                           23, 24, 25, 30, 31, 32};
    for (size_t i = 0; i < sizeof outside; i++) class_of[outside[i]] |= CLASS_OUTSIDE;
    for (size_t i = 0; i < sizeof goes_on; i++) class_of[goes_on[i]] |= CLASS_INSIDE | CLASS_GOES_ON;
    for (size_t i = 0; i < sizeof inside; i++) class_of[inside[i]] |= CLASS_INSIDE;
    for (unsigned kind = QUERY_COMPRESSED; kind <= DELETE_ROWS_COMPRESSED; kind++) class_of[kind] |= CLASS_INSIDE;
}

enum { FLAG_ARTIFICIAL = 0x20, FLAG_IGNORABLE = 0x80 };
enum { STANDALONE = 1, TRANSACTIONAL = 4, IS_DDL = 32, XA_PREPARED = 64, XA_COMPLETED = 128 };
enum { OUT_DDL = 1, OUT_XA_PREPARE = 2, OUT_XA_END = 4, OUT_UNTRANSACTED = 8 };

typedef struct {
    PyObject_HEAD
    unsigned char description[HELD_BYTES];
    unsigned int description_len;
    unsigned char follower[HELD_BYTES];
    unsigned int follower_len;
    uint64_t length;
    unsigned char log_file[NAME_BYTES_MAX];
    unsigned int log_file_len;
    uint32_t log_offset;
    Py_ssize_t consumed;
    const char *failure, *why;
    unsigned int failed_kind;
    unsigned int checksum;
    /* the event in hand */
    unsigned char head[HEADER_BYTES];
    unsigned int head_len;
    uint32_t left, stamp, server, size, end;
    unsigned char kind;
    uint16_t flags;
    int keep, hold, artificial;
    unsigned char held[HELD_BYTES];
    unsigned int held_len;
    uint32_t crc;
    unsigned char tail[4];
    unsigned int tail_len;
    /* the transaction in hand */
    int in_group;
    uint32_t group_domain, group_server, group_stamp, chain;
    uint64_t group_sequence, group_start;
    unsigned char group_flags;
} Splitter;

static void fail(Splitter *s, const char *kind, const char *why) {
    s->failure = kind;
    s->failed_kind = s->kind;
    s->why = why;
}

static int kept(Splitter *s) {
    unsigned char class = class_of[s->kind];
    if (s->kind == INCIDENT) { fail(s, "incident", "the server says that its log lacks changes"); return 0; }
    if (s->kind == FORMAT_DESCRIPTION) return 0;
    if (s->kind == GTID) {
        if (s->in_group) fail(s, "damaged", "a transaction begins within another");
        return 1;
    }
    if (s->in_group && class & CLASS_INSIDE) return 1;
    if (!s->in_group && class & CLASS_OUTSIDE) return 0;
    if (s->flags & FLAG_IGNORABLE && !(class & CLASS_INSIDE)) return 0;
    if (class & CLASS_INSIDE) fail(s, "damaged", "it belongs to no transaction");
    else if (class & CLASS_OUTSIDE) fail(s, "damaged", "it stands within a transaction");
    else fail(s, "unknown", "this release does not know it");
    return 0;
}

/* The next bytes of the event in hand, its header's included. The last four are its checksum. */
static unsigned char *consume(Splitter *s, const unsigned char *in, uint32_t len, unsigned char *out) {
    int64_t before = (int64_t)s->left - 4;
    s->left -= len;
    uint32_t checked = before <= 0 ? 0 : before < len ? (uint32_t)before : len;
    if (checked && s->checksum) s->crc = crc32_of(s->crc, in, checked);
    else if (checked && s->kind == ROTATE) s->crc = crc32_of(s->crc, in, checked);
    for (uint32_t i = checked; i < len && s->tail_len < 4; i++) s->tail[s->tail_len++] = in[i];
    if (s->keep) {
        memcpy(out, in, len);
        out += len;
        s->length += len;
    }
    return out;
}

static unsigned char *begin(Splitter *s, unsigned char *out) {
    const unsigned char *h = s->head;
    s->stamp = get32(h);
    s->kind = h[4];
    s->server = get32(h + 5);
    s->size = get32(h + 9);
    s->end = get32(h + 13);
    s->flags = get16(h + 17);
    s->head_len = 0;
    s->artificial = (s->flags & FLAG_ARTIFICIAL) || s->kind == HEARTBEAT;
    if (s->size < HEADER_BYTES + (s->artificial ? 0 : s->checksum)) {
        fail(s, "damaged", "it is shorter than an event");
        return out;
    }
    if (!s->description_len && !(s->kind == FORMAT_DESCRIPTION || s->artificial)) {
        fail(s, "damaged", "it comes before the format description");
        return out;
    }
    s->keep = s->artificial ? 0 : kept(s);
    if (s->failure) return out;
    int looked_into = s->kind == GTID || s->kind == FORMAT_DESCRIPTION || s->kind == ROTATE;
    s->hold = looked_into || ((s->kind == QUERY || s->kind == QUERY_COMPRESSED) && s->size <= HELD_BYTES && s->in_group);
    if (looked_into && s->size > HELD_BYTES) {
        fail(s, "damaged", "it is longer than such an event can be");
        return out;
    }
    s->held_len = 0;
    if (s->hold) { memcpy(s->held, h, HEADER_BYTES); s->held_len = HEADER_BYTES; }
    s->crc = 0;
    s->tail_len = 0;
    s->left = s->size;
    return consume(s, h, HEADER_BYTES, out);
}

static void rotated(Splitter *s, int matches) {
    unsigned int end = s->held_len - (matches ? 4 : 0);
    if (end < HEADER_BYTES) end = HEADER_BYTES;
    const unsigned char *body = s->held + HEADER_BYTES;
    unsigned int len = end - HEADER_BYTES;
    s->log_offset = 0;
    for (unsigned int i = 0; i < 4 && i < len; i++) s->log_offset |= (uint32_t)body[i] << 8 * i;
    unsigned int name = 0;
    while (8 + name < len && body[8 + name] && name < NAME_BYTES_MAX) name++;
    memcpy(s->log_file, body + (len > 8 ? 8 : 0), name);
    s->log_file_len = name;
}

#define DESCRIPTION_START (HEADER_BYTES + 52u)
#define DESCRIPTION_LENGTHS (DESCRIPTION_START + 4u)

static unsigned char *described(Splitter *s, unsigned char *out, int matches) {
    unsigned char *raw = s->held;
    unsigned int len = s->held_len;
    if (!matches || len < DESCRIPTION_LENGTHS + 8 || raw[DESCRIPTION_LENGTHS] != HEADER_BYTES) {
        fail(s, "damaged", "it is no format description");
        return out;
    }
    unsigned char algorithm = raw[len - 5];
    if (algorithm > 1) { fail(s, "unknown", "its events have checksums of another kind"); return out; }
    s->in_group = 0;
    if (s->description_len) {
        int same = s->description_len == len &&
                   !memcmp(s->description + HEADER_BYTES, raw + HEADER_BYTES, DESCRIPTION_START - HEADER_BYTES) &&
                   !memcmp(s->description + DESCRIPTION_LENGTHS, raw + DESCRIPTION_LENGTHS, len - 4 - DESCRIPTION_LENGTHS);
        if (!same) {
            memcpy(s->follower, raw, len);
            s->follower_len = len;
            fail(s, "header", "the log is written differently from here on");
        }
        return out;
    }
    memcpy(s->description, raw, len);
    s->description_len = len;
    s->checksum = algorithm == 1 ? 4 : 0;
    memcpy(out, raw, len);
    s->length += len;
    return out + len;
}

static int group_ends(const Splitter *s) {
    if (s->group_flags & STANDALONE) return !(class_of[s->kind] & CLASS_GOES_ON);
    if (s->kind == XID || s->kind == XA_PREPARE) return 1;
    if (s->kind != QUERY || !s->hold) return 0;
    const unsigned char *body = s->held + HEADER_BYTES;
    size_t len = s->held_len - HEADER_BYTES - s->checksum;
    if (len < 13) return 0;
    size_t at = 13u + get16(body + 11) + body[8] + 1u;
    if (at >= len) return 0;
    const unsigned char *text = body + at;
    len -= at;
    return (len == 6 && !memcmp(text, "COMMIT", 6)) || (len == 8 && !memcmp(text, "ROLLBACK", 8)) ||
           (len >= 9 && !memcmp(text, "XA COMMIT", 9)) || (len >= 11 && !memcmp(text, "XA ROLLBACK", 11));
}

static int close_group(Splitter *s, PyObject *groups) {
    unsigned char flags = s->group_flags, found = 0;
    if (flags & IS_DDL) found |= OUT_DDL;
    if (flags & XA_PREPARED) found |= OUT_XA_PREPARE;
    if (flags & XA_COMPLETED) found |= OUT_XA_END;
    if (!(flags & (TRANSACTIONAL | IS_DDL | XA_PREPARED | XA_COMPLETED))) found |= OUT_UNTRANSACTED;
    s->in_group = 0;
    char text[48];
    int size = snprintf(text, sizeof text, "%lu-%lu-%llu", (unsigned long)s->group_domain,
                        (unsigned long)s->group_server, (unsigned long long)s->group_sequence);
    PyObject *group = Py_BuildValue("(s#kKKKkik)", text, (Py_ssize_t)size, (unsigned long)s->group_domain,
                                    (unsigned long long)s->group_sequence, (unsigned long long)s->group_start,
                                    (unsigned long long)s->length, (unsigned long)s->group_stamp, (int)found,
                                    (unsigned long)s->chain);
    if (!group) return -1;
    int failed = PyList_Append(groups, group);
    Py_DECREF(group);
    return failed;
}

static int finish(Splitter *s, unsigned char **out, PyObject *groups) {
    uint32_t crc = s->crc;
    if (s->kind == FORMAT_DESCRIPTION) {
        unsigned char flags = s->held[17];
        s->held[17] &= 0xfe;
        crc = s->held_len > 4 ? crc32_of(0, s->held, s->held_len - 4) : 0;
        s->held[17] = flags;
    }
    int matches = s->tail_len == 4 && get32(s->tail) == crc;
    if ((s->checksum || s->kind == FORMAT_DESCRIPTION) && !s->artificial && !matches) {
        fail(s, "damaged", "its checksum is not that of its bytes");
        return 0;
    }
    if (!s->artificial || s->kind == HEARTBEAT) s->log_offset = s->end;
    if (s->kind == ROTATE) {
        rotated(s, matches);
    } else if (s->kind == FORMAT_DESCRIPTION) {
        *out = described(s, *out, matches);
    } else if (s->keep) {
        s->chain = crc32_of(s->kind == GTID ? 0 : s->chain, s->tail, 4);
        if (s->kind == GTID) {
            const unsigned char *body = s->held + HEADER_BYTES;
            if (s->held_len < HEADER_BYTES + s->checksum + 13) {
                fail(s, "damaged", "it is shorter than such an event");
                return 0;
            }
            s->group_sequence = get64(body);
            s->group_domain = get32(body + 8);
            s->group_flags = body[12];
            s->group_server = s->server;
            s->group_stamp = s->stamp;
            s->group_start = s->length - s->size;
            s->in_group = 1;
        } else if (group_ends(s)) {
            return close_group(s, groups);
        }
    }
    return 0;
}

static PyObject *splitter_feed(Splitter *self, PyObject *argument) {
    Py_buffer data;
    if (PyObject_GetBuffer(argument, &data, PyBUF_SIMPLE) < 0) return NULL;
    /* a header held back and a first format description may come on top of what is fed */
    PyObject *kept_bytes = PyBytes_FromStringAndSize(NULL, data.len + HELD_BYTES + HEADER_BYTES);
    PyObject *groups = PyList_New(0);
    if (!kept_bytes || !groups) goto failed;
    unsigned char *first = (unsigned char *)PyBytes_AS_STRING(kept_bytes), *out = first;
    const unsigned char *in = data.buf, *end = in + data.len;
    while (in < end && !self->failure) {
        if (!self->left) {
            if (!self->head_len && end - in >= (Py_ssize_t)HEADER_BYTES) {
                memcpy(self->head, in, HEADER_BYTES);
                in += HEADER_BYTES;
            } else {
                self->head[self->head_len++] = *in++;
                if (self->head_len < HEADER_BYTES) continue;
            }
            out = begin(self, out);
            if (self->failure || self->left) continue;
        } else {
            uint32_t have = end - in > (Py_ssize_t)self->left ? self->left : (uint32_t)(end - in);
            if (self->hold) { memcpy(self->held + self->held_len, in, have); self->held_len += have; }
            out = consume(self, in, have, out);
            in += have;
        }
        if (!self->left && finish(self, &out, groups) < 0) goto failed;
    }
    self->consumed = in - (const unsigned char *)data.buf;
    PyBuffer_Release(&data);
    if (_PyBytes_Resize(&kept_bytes, out - first) < 0) { Py_DECREF(groups); return NULL; }
    return Py_BuildValue("(NN)", kept_bytes, groups);
failed:
    PyBuffer_Release(&data);
    Py_XDECREF(kept_bytes);
    Py_XDECREF(groups);
    return NULL;
}

static PyObject *get_description(Splitter *s, void *unused) {
    (void)unused;
    return PyBytes_FromStringAndSize((const char *)s->description, s->description_len);
}
static PyObject *get_follower(Splitter *s, void *unused) {
    (void)unused;
    return PyBytes_FromStringAndSize((const char *)s->follower, s->follower_len);
}
static PyObject *get_length(Splitter *s, void *unused) { (void)unused; return PyLong_FromUnsignedLongLong(s->length); }
static PyObject *get_consumed(Splitter *s, void *unused) { (void)unused; return PyLong_FromSsize_t(s->consumed); }
static PyObject *get_log_file(Splitter *s, void *unused) {
    (void)unused;
    return PyBytes_FromStringAndSize((const char *)s->log_file, s->log_file_len);
}
static PyObject *get_log_offset(Splitter *s, void *unused) { (void)unused; return PyLong_FromUnsignedLong(s->log_offset); }
static PyObject *get_failure(Splitter *s, void *unused) {
    (void)unused;
    if (!s->failure) Py_RETURN_NONE;
    return Py_BuildValue("(sIs)", s->failure, s->failed_kind, s->why);
}

static PyGetSetDef splitter_attributes[] = {
    {"description", (getter)get_description, NULL, NULL, NULL}, {"follower", (getter)get_follower, NULL, NULL, NULL},
    {"length", (getter)get_length, NULL, NULL, NULL},           {"consumed", (getter)get_consumed, NULL, NULL, NULL},
    {"log_file", (getter)get_log_file, NULL, NULL, NULL},
    {"log_offset", (getter)get_log_offset, NULL, NULL, NULL},   {"failure", (getter)get_failure, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* ---- packets ---- */
typedef struct {
    PyObject_HEAD
    unsigned char head[4];
    unsigned int head_len;
    uint32_t left;
    int more, first, in_error, ended;
    unsigned char error[ERROR_BYTES_MAX];
    unsigned int error_len;
} Unframer;

static PyObject *unframer_feed(Unframer *self, PyObject *argument) {
    Py_buffer data;
    if (PyObject_GetBuffer(argument, &data, PyBUF_SIMPLE) < 0) return NULL;
    PyObject *events = PyBytes_FromStringAndSize(NULL, data.len);
    if (!events) { PyBuffer_Release(&data); return NULL; }
    unsigned char *first = (unsigned char *)PyBytes_AS_STRING(events), *out = first;
    const unsigned char *in = data.buf, *end = in + data.len;
    int valid = 1;
    while (in < end) {
        if (self->ended) { valid = 0; break; }
        if (!self->left) {
            self->head[self->head_len++] = *in++;
            if (self->head_len < 4) continue;
            self->head_len = 0;
            int continued = self->more;
            self->left = (uint32_t)self->head[0] | (uint32_t)self->head[1] << 8 | (uint32_t)self->head[2] << 16;
            self->more = self->left == FULL_PACKET;
            self->first = !continued;
            if (!self->left && !continued) { valid = 0; break; }
            continue;
        }
        uint32_t have = end - in > (Py_ssize_t)self->left ? self->left : (uint32_t)(end - in);
        const unsigned char *piece = in;
        in += have;
        self->left -= have;
        if (self->first) {
            self->first = 0;
            if (*piece == 0xfe) { self->ended = 1; self->left = 0; continue; }
            if (*piece == 0xff) self->in_error = 1;
            else if (*piece) { valid = 0; break; }
            piece++;
            have--;
        }
        if (self->in_error) {
            unsigned int room = ERROR_BYTES_MAX - self->error_len, keep = have < room ? have : room;
            memcpy(self->error + self->error_len, piece, keep);
            self->error_len += keep;
            if (!self->left && !self->more) self->ended = 1;
        } else {
            memcpy(out, piece, have);
            out += have;
        }
    }
    PyBuffer_Release(&data);
    if (!valid) {
        Py_DECREF(events);
        PyErr_SetString(PyExc_ValueError, "the server's answer is not a log");
        return NULL;
    }
    if (_PyBytes_Resize(&events, out - first) < 0) return NULL;
    return events;
}

static PyObject *get_ended(Unframer *s, void *unused) { (void)unused; return PyBool_FromLong(s->ended); }
static PyObject *get_error(Unframer *s, void *unused) {
    (void)unused;
    if (!s->ended || !s->in_error) Py_RETURN_NONE;
    return PyBytes_FromStringAndSize((const char *)s->error, s->error_len);
}

static PyGetSetDef unframer_attributes[] = {
    {"ended", (getter)get_ended, NULL, NULL, NULL},
    {"error", (getter)get_error, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* ---- the module ---- */
static PyObject *plain_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "", names)) return NULL;
    return type->tp_alloc(type, 0);
}

static void plain_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef splitter_methods[] = {
    {"feed", (PyCFunction)splitter_feed, METH_O, "(bytes of the session, transactions that end in them)."},
    {NULL, NULL, 0, NULL},
};
static PyMethodDef unframer_methods[] = {
    {"feed", (PyCFunction)unframer_feed, METH_O, "Bytes of the events in these packets."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot splitter_slots[] = {
    {Py_tp_new, plain_new}, {Py_tp_dealloc, plain_dealloc}, {Py_tp_methods, splitter_methods},
    {Py_tp_getset, splitter_attributes}, {0, NULL},
};
static PyType_Slot unframer_slots[] = {
    {Py_tp_new, plain_new}, {Py_tp_dealloc, plain_dealloc}, {Py_tp_methods, unframer_methods},
    {Py_tp_getset, unframer_attributes}, {0, NULL},
};
static PyType_Spec splitter_spec = {
    "tidewind.engines.mariadb.log._walk.Splitter", sizeof(Splitter), 0, Py_TPFLAGS_DEFAULT, splitter_slots,
};
static PyType_Spec unframer_spec = {
    "tidewind.engines.mariadb.log._walk.Unframer", sizeof(Unframer), 0, Py_TPFLAGS_DEFAULT, unframer_slots,
};

static int add_type(PyObject *module, const char *name, PyType_Spec *spec) {
    PyObject *type = PyType_FromSpec(spec);
    if (!type) return -1;
    int failed = PyModule_AddObjectRef(module, name, type);
    Py_DECREF(type);
    return failed;
}

static int module_exec(PyObject *module) {
    crc_prepare();
    memset(class_of, 0, sizeof class_of);
    classes_prepare();
    if (add_type(module, "Splitter", &splitter_spec) < 0) return -1;
    return add_type(module, "Unframer", &unframer_spec);
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_walk", "The binary log, out of its packets and cut into transactions.", 0, NULL,
    module_slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__walk(void) { return PyModuleDef_Init(&module); }
