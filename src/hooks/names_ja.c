/* SPDX-License-Identifier: MIT */
/*
 * Nothing is put together in memory: numbers go into the hash as text, one after the other. Lists
 * that must be sorted are copied first; a hello has room for so many, so the stack has.
 */
#include "names_ja.h"

#include <stdio.h>

#include <openssl/evp.h>

#define LIST_MAX (NAMES_HELLO_MAX / 2) /* two bytes each */
#define SHORT	 12		       /* hex digits of a hash that JA4 keeps */
#define EXT_SNI	 0x0000
#define EXT_ALPN 0x0010

struct names_ja {
	EVP_MD *md5, *sha256;
	EVP_MD_CTX *ctx;
};

struct names_ja *names_ja_new(void)
{
	struct names_ja *ja = calloc(1, sizeof(*ja));

	if (!ja)
		return NULL;
	ja->md5 = EVP_MD_fetch(NULL, "MD5", NULL);
	ja->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	ja->ctx = EVP_MD_CTX_new();
	if (ja->sha256 && ja->ctx)
		return ja;
	names_ja_free(ja);
	return NULL;
}

void names_ja_free(struct names_ja *ja)
{
	if (!ja)
		return;
	EVP_MD_free(ja->md5);
	EVP_MD_free(ja->sha256);
	EVP_MD_CTX_free(ja->ctx);
	free(ja);
}

/* --- lists of numbers ------------------------------------------------------------------------ */

/* numbers_of - the 16-bit numbers of @v, without GREASE */
static size_t numbers_of(struct names_view v, uint16_t out[LIST_MAX])
{
	size_t n = 0;
	uint32_t number;

	while (n < LIST_MAX && names_take_number(&v, 2, &number))
		if (!names_grease((uint16_t)number))
			out[n++] = (uint16_t)number;
	return n;
}

static size_t types_of(struct names_view extensions, uint16_t out[LIST_MAX])
{
	struct names_view body;
	size_t n = 0;
	uint16_t type;

	while (n < LIST_MAX && names_hello_extension(&extensions, &type, &body))
		if (!names_grease(type))
			out[n++] = type;
	return n;
}

static int by_value(const void *a, const void *b)
{
	return *(const uint16_t *)a - *(const uint16_t *)b;
}

static void add_text(struct names_ja *ja, const char *text)
{
	EVP_DigestUpdate(ja->ctx, text, strlen(text));
}

/* add_list - numbers in @format with @separator between them */
static void add_list(struct names_ja *ja, const uint16_t *list, size_t n, bool hex,
		     const char *separator)
{
	char text[8];

	for (size_t i = 0; i < n; i++) {
		if (i)
			add_text(ja, separator);
		snprintf(text, sizeof(text), hex ? "%04x" : "%u", list[i]);
		add_text(ja, text);
	}
}

/* finish - the first @digits of the hash in hex, terminated */
static bool finish(struct names_ja *ja, char *out, size_t digits)
{
	uint8_t hash[EVP_MAX_MD_SIZE];

	if (EVP_DigestFinal_ex(ja->ctx, hash, NULL) != 1)
		return false;
	for (size_t i = 0; i < digits; i += 2)
		snprintf(out + i, 3, "%02x", hash[i / 2]);
	return true;
}

/* --- JA3: version,ciphers,extensions,groups,point formats ------------------------------------- */

bool names_ja3(struct names_ja *ja, const struct names_hello *h, char out[NAMES_JA3_SIZE])
{
	uint16_t list[LIST_MAX];
	size_t n, i;

	if (!ja->md5 || EVP_DigestInit_ex2(ja->ctx, ja->md5, NULL) != 1)
		return false;
	add_list(ja, &h->legacy_version, 1, false, "");
	add_text(ja, ",");
	n = numbers_of(h->ciphers, list);
	add_list(ja, list, n, false, "-");
	add_text(ja, ",");
	n = types_of(h->extensions, list);
	add_list(ja, list, n, false, "-");
	add_text(ja, ",");
	n = numbers_of(h->groups, list);
	add_list(ja, list, n, false, "-");
	add_text(ja, ",");
	for (i = 0; i < h->formats.len; i++)
		list[i] = h->formats.at[i];
	add_list(ja, list, h->formats.len, false, "-");
	return finish(ja, out, NAMES_JA3_SIZE - 1);
}

/* --- JA4 ----------------------------------------------------------------------------------- */

static const char *version_text(uint16_t version)
{
	switch (version) {
	case 0x0304:
		return "13";
	case 0x0303:
		return "12";
	case 0x0302:
		return "11";
	case 0x0301:
		return "10";
	case 0x0300:
		return "s3";
	default:
		return "00";
	}
}

static bool alphanumeric(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* alpn_text - first and last character of the first protocol, of its hex form when they are odd */
static void alpn_text(struct names_view alpn, char out[3])
{
	struct names_view name;
	uint8_t first, last;

	memcpy(out, "00", 3);
	if (!names_take_vector(&alpn, 1, &name) || !name.len)
		return;
	first = name.at[0];
	last = name.at[name.len - 1];
	if (alphanumeric(first) && alphanumeric(last)) {
		out[0] = (char)first;
		out[1] = (char)last;
		return;
	}
	out[0] = "0123456789abcdef"[first >> 4];
	out[1] = "0123456789abcdef"[last & 15];
}

/* ja4_ciphers - the hash of the sorted list */
static bool ja4_ciphers(struct names_ja *ja, uint16_t *list, size_t n, char *out)
{
	if (!n) {
		memset(out, '0', SHORT);
		return true;
	}
	qsort(list, n, sizeof(*list), by_value);
	if (EVP_DigestInit_ex2(ja->ctx, ja->sha256, NULL) != 1)
		return false;
	add_list(ja, list, n, true, ",");
	return finish(ja, out, SHORT);
}

/* ja4_extensions - the hash of the sorted list, less what the first part shows, and of the
 * signature algorithms as they come */
static bool ja4_extensions(struct names_ja *ja, const struct names_hello *h, uint16_t *list,
			   size_t n, char *out)
{
	size_t i, kept = 0;

	for (i = 0; i < n; i++)
		if (list[i] != EXT_SNI && list[i] != EXT_ALPN)
			list[kept++] = list[i];
	if (!kept) {
		memset(out, '0', SHORT);
		return true;
	}
	qsort(list, kept, sizeof(*list), by_value);
	if (EVP_DigestInit_ex2(ja->ctx, ja->sha256, NULL) != 1)
		return false;
	add_list(ja, list, kept, true, ",");
	n = numbers_of(h->signatures, list);
	if (n)
		add_text(ja, "_");
	add_list(ja, list, n, true, ",");
	return finish(ja, out, SHORT);
}

bool names_ja4(struct names_ja *ja, const struct names_hello *h, char transport,
	       char out[NAMES_JA4_SIZE])
{
	uint16_t ciphers[LIST_MAX], types[LIST_MAX];
	size_t n_ciphers = numbers_of(h->ciphers, ciphers);
	size_t n_types = types_of(h->extensions, types);
	char alpn[3], b[SHORT + 1] = "", c[SHORT + 1] = "";

	alpn_text(h->alpn, alpn);
	if (!ja4_ciphers(ja, ciphers, n_ciphers, b) || !ja4_extensions(ja, h, types, n_types, c))
		return false;
	snprintf(out, NAMES_JA4_SIZE, "%c%s%c%02u%02u%s_%s_%s", transport, version_text(h->version),
		 h->has_sni ? 'd' : 'i', (unsigned)(n_ciphers < 99 ? n_ciphers : 99),
		 (unsigned)(n_types < 99 ? n_types : 99), alpn, b, c);
	return true;
}
