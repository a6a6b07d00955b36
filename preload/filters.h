// Whether somebody's policy (seccomp) stands between this thread and the kernel. To ask for what a policy
// does not know may end the program, so what is not needed for every program is left out under one:
// userfaultfd, and with it the registration of private memory and the doorbell thread.
//
// The policy of nvshim-run allows all that this library asks for. It says in NVSHIM_FILTERS how many of the
// filters are its own; should the program, or what it runs in, have others, there are more than that. Who
// sets the variable to something else gets what that policy does to the program, and nobody else does.
#ifndef PRELOAD_FILTERS_H_
#define PRELOAD_FILTERS_H_

namespace nvshim::preload {

// True when the calling thread is under more filters than NVSHIM_FILTERS says.
bool IsFiltered();

}  // namespace nvshim::preload

#endif  // PRELOAD_FILTERS_H_
