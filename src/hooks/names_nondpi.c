/* SPDX-License-Identifier: MIT */
#include "names_ndpi.h"

struct names_ndpi *names_ndpi_new(const char **err)
{
	*err = "this weir was built without nDPI";
	return NULL;
}

void names_ndpi_free(struct names_ndpi *nd)
{
	(void)nd;
}

bool names_ndpi_app(struct names_ndpi *nd, const struct names_ndpi_payload *p,
		    char out[NAMES_NDPI_APP_MAX + 1])
{
	(void)nd;
	(void)p;
	(void)out;
	return false;
}
