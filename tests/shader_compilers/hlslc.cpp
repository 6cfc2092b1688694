// Compiles HLSL with Microsoft's compilers, with the arguments that wgpu gives them.
//
// A line of input is FILE ENTRY PROFILE: cs_5_1 is FXC's (d3dcompiler_47.dll), cs_6_x DXC's (dxcompiler.dll). Its answer
// is what the compiler says, then a line "ok" or "failed" with the seconds of processor time that it took. Both libraries
// are loaded from the folder that is the only argument.
#include <windows.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

// What is used of <dxcapi.h>, which mingw does not have.
struct Blob : IUnknown {
  virtual void *__stdcall GetBufferPointer() = 0;
  virtual SIZE_T __stdcall GetBufferSize() = 0;
};
struct OperationResult : IUnknown {
  virtual HRESULT __stdcall GetStatus(HRESULT *) = 0;
  virtual HRESULT __stdcall GetResult(Blob **) = 0;
  virtual HRESULT __stdcall GetErrorBuffer(Blob **) = 0;
};
struct Buffer {
  const void *text;
  SIZE_T size;
  UINT encoding;
};
struct Compiler3 : IUnknown {
  virtual HRESULT __stdcall Compile(const Buffer *, const wchar_t **, UINT32, IUnknown *, REFIID, void **) = 0;
};

static const GUID CLSID_COMPILER = {0x73e22d93, 0xe6ce, 0x47f3, {0xb5, 0xbf, 0xf0, 0x66, 0x4f, 0x39, 0xc1, 0xb0}};
static const GUID IID_COMPILER3 = {0x228b4687, 0x5a6a, 0x4730, {0x90, 0x0c, 0x97, 0x02, 0xb2, 0x20, 0x3f, 0x54}};
static const GUID IID_RESULT = {0xcedb484a, 0xd4e9, 0x445a, {0xb9, 0x91, 0xca, 0x21, 0xca, 0x15, 0x7d, 0xc2}};
static const UINT ENABLE_STRICTNESS = 1 << 11;
static const UINT UTF8 = 65001;

typedef HRESULT(__stdcall *CreateFn)(REFCLSID, REFIID, void **);
typedef HRESULT(__stdcall *CompileFn)(const void *, SIZE_T, const char *, const void *, void *, const char *, const char *,
                                      UINT, UINT, Blob **, Blob **);

static std::string text_of(Blob *blob) {
  if (!blob) return "";
  std::string text((const char *)blob->GetBufferPointer(), blob->GetBufferSize());
  blob->Release();
  while (!text.empty() && (text.back() == '\0' || text.back() == '\n')) text.pop_back();
  return text;
}

static bool fxc(CompileFn compile, const std::string &source, const std::string &entry, const std::string &profile,
                std::string &said) {
  Blob *code = nullptr, *errors = nullptr;
  HRESULT status = compile(source.data(), source.size(), nullptr, nullptr, nullptr, entry.c_str(), profile.c_str(),
                           ENABLE_STRICTNESS, 0, &code, &errors);
  said = text_of(errors);
  if (code) code->Release();
  return SUCCEEDED(status) && code;
}

static bool dxc(Compiler3 *compiler, const std::string &source, const std::string &entry, const std::string &profile,
                std::string &said) {
  std::wstring wide_entry(entry.begin(), entry.end()), wide_profile(profile.begin(), profile.end());
  std::vector<const wchar_t *> arguments = {L"-E", wide_entry.c_str(), L"-T", wide_profile.c_str(), L"-HV", L"2018",
                                            L"-no-warnings", L"-Ges"};
  Buffer buffer = {source.data(), source.size(), UTF8};
  OperationResult *result = nullptr;
  if (FAILED(compiler->Compile(&buffer, arguments.data(), arguments.size(), nullptr, IID_RESULT, (void **)&result))) {
    said = "IDxcCompiler3::Compile failed";
    return false;
  }
  HRESULT status = E_FAIL;
  Blob *errors = nullptr;
  result->GetStatus(&status);
  result->GetErrorBuffer(&errors);
  said = text_of(errors);
  result->Release();
  return SUCCEEDED(status) && said.empty(); // wgpu takes any words for a failure
}

static double processor_seconds() {
  FILETIME begun, ended, kernel, user;
  GetProcessTimes(GetCurrentProcess(), &begun, &ended, &kernel, &user);
  auto seconds = [](FILETIME time) { return ((ULONGLONG)time.dwHighDateTime << 32 | time.dwLowDateTime) * 1e-7; };
  return seconds(kernel) + seconds(user);
}

template <class Function> static Function load(const std::string &folder, const char *library, const char *function) {
  HMODULE module = LoadLibraryA((folder + "\\" + library).c_str());
  FARPROC found = module ? GetProcAddress(module, function) : nullptr;
  if (!found) {
    std::cout << library << ": not loaded, error " << GetLastError() << "\nfailed 0" << std::endl;
    exit(1);
  }
  return (Function)(void *)found;
}

int main(int, char **argv) {
  auto compile = load<CompileFn>(argv[1], "d3dcompiler_47.dll", "D3DCompile");
  auto create = load<CreateFn>(argv[1], "dxcompiler.dll", "DxcCreateInstance");
  Compiler3 *compiler = nullptr;
  if (FAILED(create(CLSID_COMPILER, IID_COMPILER3, (void **)&compiler))) return 1;
  std::cout << "ok 0" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    std::string file, entry, profile, said;
    std::istringstream(line) >> file >> entry >> profile;
    std::ifstream input(file, std::ios::binary);
    std::string source((std::istreambuf_iterator<char>(input)), std::istreambuf_iterator<char>());
    double begun = processor_seconds();
    bool is_fxc = profile == "cs_5_1";
    bool ok = is_fxc ? fxc(compile, source, entry, profile, said) : dxc(compiler, source, entry, profile, said);
    if (!said.empty()) std::cout << said << "\n";
    std::cout << (ok ? "ok " : "failed ") << processor_seconds() - begun << std::endl;
  }
}
