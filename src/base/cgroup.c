/* SPDX-License-Identifier: MIT */
#include "base/cgroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

bool cgroup2_mount(char *out, size_t size)
{
	FILE *m = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t room = 0;
	bool have = false;

	while (m && !have && getline(&line, &room, m) > 0) {
		char where[256], *rest = strstr(line, " - cgroup2 ");

		if (!rest || sscanf(line, "%*s %*s %*s %*s %255s", where) != 1)
			continue;
		str_copy(out, size, where);
		have = true;
	}
	free(line);
	if (m)
		fclose(m);
	return have;
}
