// SPDX-License-Identifier: GPL-2.0
/*
 * The VM is what the suite takes it for: else all that runs in it proves
 * something else. The suite says in the environment what is to be found:
 * DMA_TYPE, the type of the device's IOMMU domain, empty without an IOMMU, and
 * DMA_CACHING, whether the IOMMU caches what is not mapped, too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edu.h"
#include "ktap.h"

/* In the capabilities of an Intel IOMMU */
#define CACHING_MODE	0x80UL

static enum ktap_result run_type(const void *arg)
{
	const char *want = getenv("DMA_TYPE");
	char type[32];

	(void)arg;
	if (!want)
		return ktap_skip("the environment does not say");
	edu_iommu_type(type, sizeof(type));
	return strcmp(type, want) ? ktap_fail("%s", type) : KTAP_PASS;
}

static enum ktap_result run_caching(const void *arg)
{
	FILE *f = fopen("/sys/class/iommu/dmar0/intel-iommu/cap", "r");
	const char *want = getenv("DMA_CACHING");
	unsigned long cap = 0;
	bool read;

	(void)arg;
	if (f) {
		read = fscanf(f, "%lx", &cap) == 1;
		fclose(f);
		if (!read)
			return ktap_fail("no capabilities");
	}
	if (!want)
		return ktap_skip("the environment does not say");
	return !!(cap & CACHING_MODE) == atoi(want) ? KTAP_PASS :
						      ktap_fail("%lx", cap);
}

int main(int argc, char **argv)
{
	ktap_add(run_type, NULL, "setup/type");
	ktap_add(run_caching, NULL, "setup/caching");
	return edu_main(argc, argv);
}
