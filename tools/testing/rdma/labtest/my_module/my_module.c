// SPDX-License-Identifier: GPL-2.0
/* A module of a user's own, as README.rst has it. */
#include <linux/module.h>

static int __init my_module_init(void)
{
	pr_info("my_module is loaded\n");
	return 0;
}
module_init(my_module_init);

static void __exit my_module_exit(void)
{
}
module_exit(my_module_exit);

MODULE_DESCRIPTION("A module that says that it is loaded");
MODULE_LICENSE("GPL");
