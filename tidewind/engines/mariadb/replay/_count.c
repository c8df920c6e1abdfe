/* How many row images stand one behind the other in a rows event. The Python twin in counting.py says what the widths
   mean; both give the same numbers, and the same refusals. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

/* The place behind one image, or -1 if it does not end within the data. */
static Py_ssize_t image_end(const uint8_t *data, Py_ssize_t size, Py_ssize_t at, const int16_t *widths, Py_ssize_t n) {
    Py_ssize_t nulls = at;
    at += (n + 7) / 8;
    if (at > size) return -1;
    for (Py_ssize_t i = 0; i < n; i++) {
        if (data[nulls + i / 8] >> (i % 8) & 1) continue;
        int16_t width = widths[i];
        if (width >= 0) {
            at += width;
        } else {
            int bytes = -width;
            if (at + bytes > size) return -1;
            uint32_t length = 0;
            for (int b = 0; b < bytes; b++) length |= (uint32_t)data[at + b] << (8 * b);
            at += bytes + (Py_ssize_t)length;
        }
        if (at > size) return -1;
    }
    return at;
}

static PyObject *count_images(PyObject *self, PyObject *args) {
    Py_buffer data, widths;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*", &data, &widths)) return NULL;
    Py_ssize_t columns = widths.len / 2, at = 0, count = 0;
    const uint8_t *bytes = data.buf;
    /* A row of no columns would never end. */
    while (at >= 0 && at < data.len && columns > 0) {
        at = image_end(bytes, data.len, at, (const int16_t *)widths.buf, columns);
        count++;
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&widths);
    return PyLong_FromSsize_t(at < 0 || columns == 0 ? -1 : count);
}

static PyMethodDef methods[] = {
    {"count_images", count_images, METH_VARARGS, "Of images with these widths; -1 if they do not end with the data."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_count", "Counts rows.", 0, methods, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__count(void) { return PyModuleDef_Init(&module); }
