// What an OpenBLAS or a llama.cpp made with OpenMP brings with it: its run time. Nothing of ours
// uses it; without one, these calls do nothing.
#pragma once

namespace kvsplice {

// For the length of a scope, regions of OpenMP that the calling thread enters have one thread.
class OneOpenMpThread {
 public:
  OneOpenMpThread();
  ~OneOpenMpThread();
  OneOpenMpThread(const OneOpenMpThread&) = delete;
  OneOpenMpThread& operator=(const OneOpenMpThread&) = delete;

 private:
  int before_;
};

// Told to bind threads (OMP_PROC_BIND, OMP_PLACES), OpenMP ties the first one to a single core
// while it is loaded, and all that are made of it later, processes too, inherit that core. Gives
// the calling thread all cores back that OpenMP had.
void undo_openmp_binding();

}  // namespace kvsplice
