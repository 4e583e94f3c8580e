#pragma once
// doctest, for tests whose headers reach LibTorch's logging: that defines a CHECK of its own, which would end
// the program at the first failure. Read first, it is put aside here.

#include <c10/util/Logging.h>
#undef CHECK

#include <doctest/doctest.h>
