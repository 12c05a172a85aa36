/* SPDX-License-Identifier: MIT */
/* names_hello: forges ClientHellos for the tests and fuzz targets of the hook `names`. */
#ifndef WEIR_TESTS_NAMES_HELLO_H
#define WEIR_TESTS_NAMES_HELLO_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HELLO_END  0xdead /* ends a list of numbers */
#define HELLO_ROOM 20000

/** struct hello_spec - what the hello has; lists end with HELLO_END; NULL: none of it */
struct hello_spec {
	uint16_t version;
	const uint16_t *ciphers;
	const uint16_t *extensions; /* in their order; NULL: not even the list's length */
	const char *sni;
	size_t sni_len;	  /* 0: strlen() */
	const char *alpn; /* "2h2" "8http/1.1", the digit a length */
	const uint16_t *versions, *groups, *signatures;
	size_t key_share; /* bytes of its body */
	uint8_t ech;	  /* first byte of ECH's body: 0 outer, 1 inner */
};

struct hello_out {
	uint8_t *b;
	size_t n;
};

static inline void hello_put(struct hello_out *o, uint32_t v, unsigned bytes)
{
	while (bytes--)
		o->b[o->n++] = (uint8_t)(v >> (8 * bytes));
}

/* hello_open, hello_close - a length of @bytes bytes, and what it counts between the two calls */
static inline size_t hello_open(struct hello_out *o, unsigned bytes)
{
	hello_put(o, 0, bytes);
	return o->n;
}

static inline void hello_close(struct hello_out *o, size_t from, unsigned bytes)
{
	size_t len = o->n - from;

	for (unsigned i = 0; i < bytes; i++)
		o->b[from - 1 - i] = (uint8_t)(len >> (8 * i));
}

static inline void hello_list(struct hello_out *o, const uint16_t *list, unsigned length_bytes)
{
	size_t from = hello_open(o, length_bytes);

	for (; list && *list != HELLO_END; list++)
		hello_put(o, *list, 2);
	hello_close(o, from, length_bytes);
}

static inline void hello_bytes(struct hello_out *o, const void *data, size_t len)
{
	memcpy(o->b + o->n, data, len);
	o->n += len;
}

static inline void hello_sni(struct hello_out *o, const struct hello_spec *s)
{
	size_t list = hello_open(o, 2), name;

	hello_put(o, 0, 1);
	name = hello_open(o, 2);
	hello_bytes(o, s->sni, s->sni_len ? s->sni_len : strlen(s->sni));
	hello_close(o, name, 2);
	hello_close(o, list, 2);
}

static inline void hello_alpn(struct hello_out *o, const char *alpn)
{
	size_t list = hello_open(o, 2);

	while (alpn && *alpn) {
		size_t n = (size_t)(*alpn++ - '0');

		hello_put(o, (uint32_t)n, 1);
		hello_bytes(o, alpn, n);
		alpn += n;
	}
	hello_close(o, list, 2);
}

static inline void hello_extension(struct hello_out *o, const struct hello_spec *s, uint16_t type)
{
	size_t body;

	hello_put(o, type, 2);
	body = hello_open(o, 2);
	switch (type) {
	case 0:
		hello_sni(o, s);
		break;
	case 10:
		hello_list(o, s->groups, 2);
		break;
	case 11:
		hello_put(o, 0x0100, 2); /* one, uncompressed */
		break;
	case 13:
		hello_list(o, s->signatures, 2);
		break;
	case 16:
		hello_alpn(o, s->alpn);
		break;
	case 43:
		hello_list(o, s->versions, 1);
		break;
	case 51:
		memset(o->b + o->n, 0x5a, s->key_share);
		o->n += s->key_share;
		break;
	case 0xfe0d:
		hello_put(o, s->ech, 1);
		break;
	default:
		break;
	}
	hello_close(o, body, 2);
}

/** hello_make - the handshake message in @b (HELLO_ROOM bytes); its length */
static inline size_t hello_make(const struct hello_spec *s, uint8_t *b)
{
	struct hello_out o = {b, 0};
	const uint16_t *e;
	size_t msg, list;

	hello_put(&o, 1, 1);
	msg = hello_open(&o, 3);
	hello_put(&o, s->version, 2);
	memset(b + o.n, 0x77, 32);
	o.n += 32;
	hello_put(&o, 0, 1); /* no session id */
	hello_list(&o, s->ciphers, 2);
	hello_put(&o, 0x0100, 2); /* one compression: none */
	if (s->extensions) {
		list = hello_open(&o, 2);
		for (e = s->extensions; *e != HELLO_END; e++)
			hello_extension(&o, s, *e);
		hello_close(&o, list, 2);
	}
	hello_close(&o, msg, 3);
	return o.n;
}

/** hello_records - @msg in records of @size bytes at most, to @out; the length of all */
static inline size_t hello_records(const uint8_t *msg, size_t len, size_t size, uint8_t *out)
{
	struct hello_out o = {out, 0};

	for (size_t n; len; msg += n, len -= n) {
		n = len < size ? len : size;
		hello_put(&o, 0x160301, 3);
		hello_put(&o, (uint32_t)n, 2);
		hello_bytes(&o, msg, n);
	}
	return o.n;
}

/* What FoxIO's description of JA4 has as its example, with RFC 8701's values put in. */
static const uint16_t hello_foxio_ciphers[] = {0x1a1a, 0x1301, 0x1302, 0x1303, 0xc02b,	 0xc02f,
					       0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013,	 0xc014,
					       0x009c, 0x009d, 0x002f, 0x0035, HELLO_END};
static const uint16_t hello_foxio_extensions[] = {
	0x2a2a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d,	  0x0005,
	0x0023, 0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015, 0x3a3a, HELLO_END};
static const uint16_t hello_foxio_signatures[] = {0x0403, 0x0804, 0x0401, 0x0503,   0x0805,
						  0x0501, 0x0806, 0x0601, HELLO_END};
static const uint16_t hello_foxio_versions[] = {0xfafa, 0x0304, 0x0303, HELLO_END};
static const uint16_t hello_foxio_groups[] = {0x4a4a, 0x001d, 0x0017, 0x0018, HELLO_END};

#define HELLO_FOXIO                                                                                \
	{                                                                                          \
		.version = 0x0303, .ciphers = hello_foxio_ciphers,                                 \
		.extensions = hello_foxio_extensions, .sni = "www.Example.org",                    \
		.alpn = "2h28http/1.1", .versions = hello_foxio_versions,                          \
		.groups = hello_foxio_groups, .signatures = hello_foxio_signatures,                \
		.key_share = 43,                                                                   \
	}
static const struct hello_spec hello_foxio = HELLO_FOXIO;

#endif
