// SPDX-License-Identifier: GPL-2.0
/*
 * A module with nothing but a warning in it: the kernel complains, and goes on.
 */
#include <linux/bug.h>
#include <linux/module.h>

static int __init warn_init(void)
{
	WARN(1, "labtest complains\n");
	return 0;
}
module_init(warn_init);

MODULE_DESCRIPTION("Makes the kernel complain");
MODULE_LICENSE("GPL");
