// Included by name in TVM's text; what it needs is in kernel.h.
#pragma once
