//! What keeps the process alive when LLVM gives up.
//!
//! In: work that calls LLVM. Out: its result, or LLVM's last words as an [`Error`]. On a fatal error LLVM ends the process
//! unless its handler never returns. So the work runs on a thread of its own, and the handler, called on that thread,
//! reports and sleeps forever: such a thread and its memory are lost, and nothing else.

use super::super::Error;
use inkwell::context::{AsContextRef, Context};
use inkwell::llvm_sys::LLVMDiagnosticSeverity;
use inkwell::llvm_sys::core::{LLVMContextSetDiagnosticHandler, LLVMGetDiagInfoDescription, LLVMGetDiagInfoSeverity};
use inkwell::llvm_sys::prelude::LLVMDiagnosticInfoRef;
use inkwell::support::error_handling::install_fatal_error_handler;
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::sync::Once;
use std::sync::mpsc::channel;

/// Tells the caller of [`on_own_thread`] why there will be no result.
type Report = Box<dyn Fn(String)>;

thread_local! {
    /// Set on threads whose work can be given up.
    static REPORT: RefCell<Option<Report>> = const { RefCell::new(None) };
}

/// LLVM recurses over long bodies.
const STACK: usize = 64 << 20;

/// Runs `work`, which calls LLVM.
///
/// # Errors
/// What `work` returns, or that it was given up.
pub(super) fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    static READY: Once = Once::new();
    READY.call_once(|| {
        // SAFETY: the handler neither unwinds nor calls LLVM.
        unsafe { install_fatal_error_handler(fatal) };
    });
    let (result, answer) = channel();
    let last_words = result.clone();
    let thread = std::thread::Builder::new().name("code generator".to_owned()).stack_size(STACK).spawn(move || {
        let report: Report = Box::new(move |text| drop(last_words.send(Err(Error::Llvm(text)))));
        REPORT.set(Some(report));
        let _ = result.send(work());
        REPORT.set(None);
    });
    thread.map_err(|e| Error::Llvm(format!("no thread: {e}")))?;
    answer.recv().unwrap_or_else(|_| Err(Error::Llvm("the code generator panicked".to_owned())))
}

/// Errors that LLVM finds in what belongs to a context, such as a line of PTX, are fatal, too.
pub(super) fn watch(context: &Context) {
    // SAFETY: the context is live; the handler uses what it is given during the call only.
    unsafe { LLVMContextSetDiagnosticHandler(context.as_ctx_ref(), Some(diagnosed), std::ptr::null_mut()) };
}

/// Does not return on threads of [`on_own_thread`]. On others LLVM goes on, to end the process.
#[allow(clippy::while_immutable_condition, reason = "parked for good; `park` may return all the same")]
fn give_up(text: String) {
    let ours = REPORT.with_borrow(|report| report.as_ref().map(|r| r(text)).is_some());
    while ours {
        std::thread::park();
    }
}

extern "C" fn fatal(reason: *const c_char) {
    // SAFETY: LLVM passes a string that lives during the call.
    let text = unsafe { CStr::from_ptr(reason) }.to_string_lossy().into_owned();
    give_up(text);
}

extern "C" fn diagnosed(info: LLVMDiagnosticInfoRef, _: *mut c_void) {
    // SAFETY: LLVM passes a diagnosis that lives during the call; its description is a string of ours, of a few bytes,
    // which is not worth freeing before the thread sleeps.
    let text = unsafe {
        if LLVMGetDiagInfoSeverity(info) != LLVMDiagnosticSeverity::LLVMDSError {
            return;
        }
        CStr::from_ptr(LLVMGetDiagInfoDescription(info)).to_string_lossy().into_owned()
    };
    give_up(text);
}

#[cfg(test)]
mod tests {
    use super::super::super::Arch;
    use super::super::emit::Emit;
    use super::super::module::to_ptx;
    use super::*;

    /// A kernel that calls what this target cannot do.
    fn impossible(line: Option<&str>) -> Result<String, Error> {
        let context = Context::create();
        watch(&context);
        let e = Emit::new(&context, "impossible", (0, 1), 32, Arch::Sm80);
        let word = e.word(0)?;
        match line {
            Some(constraints) => drop(e.asm(None, "// $0", constraints, &[word.into()], true)?),
            None => {
                let x = e.builder.build_bit_cast(word, context.f64_type(), "")?;
                let pow = context.f64_type().fn_type(&[context.f64_type().into(); 2], false);
                let pow = e.module.add_function("llvm.pow.f64", pow, None);
                let y = e.builder.build_call(pow, &[x.into(), x.into()], "")?.try_as_basic_value().basic();
                let p = e.pointer(word, super::super::emit::Space::Global)?;
                e.builder.build_store(p, y.unwrap_or(x))?;
            }
        }
        e.builder.build_return(None)?;
        to_ptx(&e.module, Arch::Sm80)
    }

    #[test]
    fn the_process_outlives_what_cannot_be_compiled() {
        for line in [None, Some("x")] {
            let said = on_own_thread(move || impossible(line));
            assert!(matches!(&said, Err(Error::Llvm(text)) if !text.is_empty()), "{said:?}");
        }
        assert_eq!(on_own_thread(|| Ok(1)), Ok(1));
    }

    #[test]
    fn panics_are_errors() {
        let said = on_own_thread(|| -> Result<(), Error> { panic!("as this test wants") });
        assert!(matches!(said, Err(Error::Llvm(_))));
    }
}
