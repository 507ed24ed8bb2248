#pragma once

// Makes the caching allocator the one of all CPU tensors from here on. Tensors made before keep theirs.
void lockstep_install_allocator();
