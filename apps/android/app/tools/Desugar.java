import java.io.IOException;
import proguard.backport.LambdaExpressionConverter;
import proguard.classfile.ClassPool;
import proguard.classfile.util.ClassReferenceInitializer;
import proguard.classfile.util.ClassSuperHierarchyInitializer;
import proguard.classfile.visitor.ClassPoolFiller;
import proguard.io.ExtraDataEntryNameMap;
import proguard.io.util.IOUtil;
import proguard.classfile.editor.BootstrapMethodsAttributeShrinker;

/**
 * Turns lambdas into classes by ProGuard's converter, and nothing else: Android has no LambdaMetafactory.
 *
 * <p>java -cp proguard Desugar.java IN OUT.jar LIBRARY...
 */
final class Desugar {
    public static void main(String[] args) throws IOException {
        ClassPool program = IOUtil.read(args[0], false);
        ClassPool library = new ClassPool();
        for (int at = 2; at < args.length; at++) {
            IOUtil.read(args[at], true).classesAccept(new ClassPoolFiller(library));
        }
        initialize(program, library);
        ClassPool made = new ClassPool();
        ClassPool before = new ClassPool();
        program.classesAccept(new ClassPoolFiller(before)); // the converter adds to the other one
        before.classesAccept(
                new LambdaExpressionConverter(
                        program, library, new ExtraDataEntryNameMap(), new ClassPoolFiller(made)));
        made.classesAccept(new ClassPoolFiller(program));
        initialize(program, library);
        program.classesAccept(new BootstrapMethodsAttributeShrinker());
        IOUtil.writeJar(program, args[1]);
        System.out.println(made.size() + " lambdas");
    }

    private static void initialize(ClassPool program, ClassPool library) {
        program.classesAccept(new ClassSuperHierarchyInitializer(program, library, null, null));
        library.classesAccept(new ClassSuperHierarchyInitializer(program, library, null, null));
        program.classesAccept(new ClassReferenceInitializer(program, library, null, null, null, null));
        library.classesAccept(new ClassReferenceInitializer(program, library, null, null, null, null));
    }
}
