# Imports over a hundred modules of the standard library. Their byte code lands beside them, in the upper layer.
import importlib
import sys

NAMES = """
abc aifc argparse array ast asynchat asyncio asyncio.base_events asyncio.streams base64 bdb binascii bisect bz2 calendar
cmath cmd code codecs codeop collections collections.abc colorsys compileall concurrent.futures configparser contextlib
contextvars copy copyreg csv ctypes curses dataclasses datetime decimal difflib dis doctest email email.message
email.mime.text email.parser encodings.idna enum errno fcntl filecmp fileinput fnmatch fractions ftplib functools gc
getopt getpass gettext glob graphlib grp gzip hashlib heapq hmac html html.parser http.client http.cookies http.server
imaplib inspect io ipaddress itertools json json.decoder keyword linecache locale logging logging.config
logging.handlers lzma mailbox marshal mimetypes mmap multiprocessing multiprocessing.pool netrc numbers opcode operator
optparse os pathlib pdb pickle pickletools pkgutil platform plistlib poplib posixpath pprint profile pstats pty pwd
py_compile pyclbr pydoc queue quopri random re readline reprlib resource sched secrets select selectors shelve shlex
shutil signal site smtplib sndhdr socket socketserver sqlite3 ssl stat statistics string stringprep struct subprocess
symtable sysconfig tabnanny tarfile tempfile termios textwrap threading timeit token tokenize trace traceback
tracemalloc tty types typing unicodedata unittest unittest.mock urllib.parse urllib.request uuid venv wave weakref
webbrowser wsgiref.simple_server xml.dom.minidom xml.etree.ElementTree xml.sax xmlrpc.client zipfile zipimport zlib
zoneinfo
""".split()

for name in NAMES:
    importlib.import_module(name)
assert len(NAMES) > 100
print(len(NAMES), "modules imported,", len([m for m in sys.modules if m in NAMES]), "are loaded")
