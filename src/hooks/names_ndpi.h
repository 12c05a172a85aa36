/* SPDX-License-Identifier: MIT */
/*
 * names_ndpi: nDPI's opinion about a first payload. names_nondpi.c takes its place where weir was
 * built without nDPI.
 */
#ifndef WEIR_HOOKS_NAMES_NDPI_H
#define WEIR_HOOKS_NAMES_NDPI_H

#include "names_buf.h"

#define NAMES_NDPI_APP_MAX 31

/** struct names_ndpi_payload - @from_port, @to_port: the sender's and the receiver's */
struct names_ndpi_payload {
	bool udp;
	uint16_t from_port, to_port;
	struct names_view bytes;
};

struct names_ndpi;

/** names_ndpi_new - loads the library; NULL with a line in *@err */
struct names_ndpi *names_ndpi_new(const char **err);
void names_ndpi_free(struct names_ndpi *nd);
/** names_ndpi_app - the protocol's name, lower case; false: not known */
bool names_ndpi_app(struct names_ndpi *nd, const struct names_ndpi_payload *p,
		    char out[NAMES_NDPI_APP_MAX + 1]);

#endif
