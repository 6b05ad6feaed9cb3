target datalayout = "e-p6:32:32-i64:64-i128:128-i256:256-v16:16-v32:32-n16:32:64"
target triple = "nvptx64-nvidia-cuda"
@fmt = private unnamed_addr addrspace(4) constant [15 x i8] c"hello %d %f %s\00"
@str = private unnamed_addr addrspace(4) constant [4 x i8] c"abc\00"
@tab = addrspace(1) global [4 x float] [float 1.0, float 2.0, float 3.0, float 4.5]
@ptrs = addrspace(1) global [2 x ptr addrspace(1)] [ptr addrspace(1) @tab, ptr addrspace(1) null]
@smem = internal addrspace(3) global [1024 x i8] undef, align 16
@dyn = external addrspace(3) global [0 x i8], align 128
declare i32 @vprintf(ptr, ptr)
declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ntid.x()
declare void @llvm.nvvm.barrier0()
declare i32 @llvm.nvvm.shfl.sync.bfly.i32(i32, i32, i32, i32)
declare {i32,i1} @llvm.nvvm.shfl.sync.bfly.i32p(i32, i32, i32, i32)
declare float @llvm.nvvm.shfl.sync.idx.f32(i32, float, i32, i32)
declare float @llvm.fma.f32(float, float, float)
declare float @llvm.sqrt.f32(float)
declare float @llvm.exp2.f32(float)
declare float @llvm.maxnum.f32(float, float)
declare float @llvm.maximum.f32(float, float)
declare i32 @llvm.ctpop.i32(i32)
declare i32 @llvm.ctlz.i32(i32, i1)
declare i32 @llvm.cttz.i32(i32, i1)
declare i32 @llvm.bitreverse.i32(i32)
declare i32 @llvm.fshl.i32(i32,i32,i32)
declare float @llvm.fabs.f32(float)
declare float @llvm.floor.f32(float)
declare float @llvm.ceil.f32(float)
declare float @llvm.rint.f32(float)
declare float @llvm.trunc.f32(float)
declare float @llvm.copysign.f32(float,float)
declare i32 @llvm.smax.i32(i32,i32)
declare i16 @llvm.smax.i16(i16,i16)
declare {i32,i1} @llvm.sadd.with.overflow.i32(i32,i32)
declare i64 @llvm.ctpop.i64(i64)
declare i32 @llvm.nvvm.vote.ballot.sync(i32, i1)

define internal i32 @helper(i32 %a, ptr %p) noinline {
  %x = mul i32 %a, 7
  store i32 %x, ptr %p
  %y = add i32 %x, 3
  ret i32 %y
}

define ptx_kernel void @lanes(ptr addrspace(1) noalias %x, ptr addrspace(1) noalias %y, i32 %n, float %s, i8 %b, i64 %q, <4 x float> %v) "nvvm.maxntid"="128" {
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %c = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %d = call i32 @llvm.nvvm.read.ptx.sreg.ntid.x()
  %m = mul i32 %c, %d
  %i = add i32 %m, %t
  %ok = icmp slt i32 %i, %n
  br i1 %ok, label %yes, label %no
yes:
  %px = getelementptr float, ptr addrspace(1) %x, i32 %i
  %py = getelementptr float, ptr addrspace(1) %y, i32 %i
  %a = load float, ptr addrspace(1) %px
  %e = call float @llvm.exp2.f32(float %a)
  %f = call float @llvm.maxnum.f32(float %e, float %s)
  %g = call float @llvm.maximum.f32(float %f, float 0.5)
  %h = call float @llvm.sqrt.f32(float %g)
  %sm = getelementptr float, ptr addrspace(3) @smem, i32 %t
  store float %h, ptr addrspace(3) %sm
  store i32 0, ptr addrspace(3) @dyn
  call void @llvm.nvvm.barrier0()
  %tt = xor i32 %t, 1
  %sm2 = getelementptr float, ptr addrspace(3) @smem, i32 %tt
  %h2 = load float, ptr addrspace(3) %sm2
  %h3 = fdiv float %h2, %s
  %l = alloca i32
  %r = call i32 @helper(i32 %i, ptr %l)
  %rr = load i32, ptr %l
  %sum = add i32 %r, %rr
  %sh = call i32 @llvm.nvvm.shfl.sync.bfly.i32(i32 -1, i32 %sum, i32 16, i32 31)
  %shf = call float @llvm.nvvm.shfl.sync.idx.f32(i32 -1, float %h3, i32 0, i32 31)
  %fs = sitofp i32 %sh to float
  %fv = fadd float %fs, %shf
  %tp = getelementptr [4 x float], ptr addrspace(1) @tab, i32 0, i32 2
  %tl = load float, ptr addrspace(1) %tp
  %fz = fadd float %fv, %tl
  %v0 = extractelement <4 x float> %v, i32 2
  %fz2 = fadd float %fz, %v0
  store float %fz2, ptr addrspace(1) %py
  %old = atomicrmw fadd ptr addrspace(1) %py, float 1.0 monotonic
  %old2 = atomicrmw add ptr addrspace(3) @dyn, i32 1 monotonic
  %args = alloca {i32, double, ptr}
  store i32 %i, ptr %args
  %a1 = getelementptr {i32,double,ptr}, ptr %args, i32 0, i32 1
  %dd = fpext float %old to double
  store double %dd, ptr %a1
  %a2 = getelementptr {i32,double,ptr}, ptr %args, i32 0, i32 2
  %gs = addrspacecast ptr addrspace(4) @str to ptr
  store ptr %gs, ptr %a2
  %gf = addrspacecast ptr addrspace(4) @fmt to ptr
  call i32 @vprintf(ptr %gf, ptr %args)
  br label %no
no:
  ret void
}

define ptx_kernel void @bits(ptr addrspace(1) %x, ptr addrspace(1) %y, i32 %n) {
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %p = getelementptr <4 x i32>, ptr addrspace(1) %x, i32 %t
  %v = load <4 x i32>, ptr addrspace(1) %p
  %e0 = extractelement <4 x i32> %v, i32 0
  %e1 = extractelement <4 x i32> %v, i32 1
  %e2 = extractelement <4 x i32> %v, i32 2
  %e3 = extractelement <4 x i32> %v, i32 3
  %a = call i32 @llvm.ctpop.i32(i32 %e0)
  %b = call i32 @llvm.ctlz.i32(i32 %e1, i1 0)
  %c = call i32 @llvm.cttz.i32(i32 %e2, i1 0)
  %d = call i32 @llvm.bitreverse.i32(i32 %e3)
  %e = call i32 @llvm.fshl.i32(i32 %a, i32 %b, i32 %c)
  %f = call i32 @llvm.smax.i32(i32 %d, i32 %e)
  %g = sdiv i32 %f, %n
  %h = urem i32 %g, 7
  %bo = icmp ult i32 %h, %a
  %ba = call i32 @llvm.nvvm.vote.ballot.sync(i32 -1, i1 %bo)
  %z = zext i32 %h to i64
  %w = mul i64 %z, %z
  %fe = uitofp i64 %w to float
  %f1 = call float @llvm.floor.f32(float %fe)
  %f2 = call float @llvm.ceil.f32(float %f1)
  %f3 = call float @llvm.rint.f32(float %f2)
  %f4 = call float @llvm.trunc.f32(float %f3)
  %f5 = call float @llvm.copysign.f32(float %f4, float -1.0)
  %f6 = call float @llvm.fabs.f32(float %f5)
  %f7 = fneg float %f6
  %i = fptosi float %f7 to i32
  %hf = fptrunc float %f7 to half
  %hg = fmul half %hf, %hf
  %hh = fadd half %hg, %hf
  %bf = fptrunc float %f7 to bfloat
  %bg = fmul bfloat %bf, %bf
  %bh = fadd bfloat %bg, %bf
  %hi = bitcast half %hh to i16
  %bi = bitcast bfloat %bh to i16
  %hs = call i16 @llvm.smax.i16(i16 %hi, i16 %bi)
  %se = sext i16 %hs to i32
  %tr = trunc i32 %i to i8
  %te = sext i8 %tr to i32
  %sw = and i32 %t, 7
  switch i32 %sw, label %def [ i32 0, label %c0 i32 1, label %c1 i32 2, label %c2 i32 3, label %c3 i32 4, label %c4 ]
c0: br label %def
c1: br label %def
c2: br label %def
c3: br label %def
c4: br label %def
def:
  %ph = phi i32 [1, %0], [11, %c0], [%te, %c1], [%se, %c2], [%ba, %c3], [%h, %c4]
  %o = getelementptr i32, ptr addrspace(1) %y, i32 %t
  store i32 %ph, ptr addrspace(1) %o
  ret void
}
define ptx_kernel void @prefix(ptr addrspace(1) %x, ptr addrspace(1) %y, i32 %n) {
entry:
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  br label %loop
loop:
  %i = phi i32 [0, %entry], [%i2, %loop]
  %acc = phi double [0.0, %entry], [%acc2, %loop]
  %p = getelementptr double, ptr addrspace(1) %x, i32 %i
  %v = load double, ptr addrspace(1) %p
  %acc2 = fadd double %acc, %v
  %i2 = add i32 %i, 1
  %c = icmp sle i32 %i2, %t
  br i1 %c, label %loop, label %out
out:
  %o = getelementptr double, ptr addrspace(1) %y, i32 %t
  store double %acc2, ptr addrspace(1) %o
  ret void
}
define ptx_kernel void @fmax_all(ptr addrspace(1) %x, ptr addrspace(1) %y) {
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %p = getelementptr float, ptr addrspace(1) %x, i32 %t
  %v = load float, ptr addrspace(1) %p
  %o = atomicrmw fmax ptr addrspace(1) %y, float %v seq_cst
  ret void
}
