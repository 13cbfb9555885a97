# SPDX-License-Identifier: GPL-2.0
#
# For programs on rdma-core's libraries: make O=DIR RDMA_CORE=DIR
#
# O is where the programs go, RDMA_CORE a build tree of rdma-core.

all:

O ?= .
ifndef RDMA_CORE
$(error name a build tree of rdma-core: make RDMA_CORE=DIR)
endif

CC ?= gcc
CFLAGS ?= -O2 -g
CFLAGS += -std=gnu11 -Wall -Wextra -MMD
CPPFLAGS += -D_GNU_SOURCE -I$(RDMA_CORE)/include
LDFLAGS += -L$(RDMA_CORE)/lib -Wl,-rpath,$(RDMA_CORE)/lib

$(O)/%.o: %.c $(MAKEFILE_LIST) | $(O)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(O):
	mkdir -p $@

.PHONY: all clean

-include $(wildcard $(O)/*.d)
