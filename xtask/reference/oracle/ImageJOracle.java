// The real ImageJ, without a window: makes files for `unet` to read, and reads what `unet` wrote.
//
//     java -Djava.awt.headless=true -cp ij.jar ImageJOracle.java make FOLDER
//     java -Djava.awt.headless=true -cp ij.jar ImageJOracle.java read OBJECTS LABELS32 SHAPES MASKS
//
// `make` writes FOLDER/images (an 8-bit image and a 16-bit stack with a pixel size, to predict objects in), FOLDER/many/dots.tif, and
// FOLDER/shapes, a data set of an image and an archive of regions for each kind of region, and of a stack and a hyperstack with regions on some
// of their images, with the masks that ImageJ fills in FOLDER/filled.
// `read` compares, and ends with status 1 at the first difference:
//   OBJECTS   what `unet predict --save instances` wrote: for every NAME_rois.zip as many regions as NAME_objects.csv has rows, each with the
//             row's box and place in the stack, and around as many pixels of NAME_instances.tif as the row says; the image's pixel size and unit
//   LABELS32  the label stack of the dots, of whose second slice there are more than 16 bits count
//   SHAPES    the folder of `make`; MASKS what `unet` makes of its shapes, as PNG: pixel for pixel what ImageJ fills
//
// The ROI Manager itself needs a window. Regions are decoded by ij.io.RoiDecoder, entry by entry, as RoiManager.openZip does.

import ij.IJ;
import ij.ImageJ;
import ij.ImagePlus;
import ij.ImageStack;
import ij.gui.OvalRoi;
import ij.gui.PolygonRoi;
import ij.gui.Roi;
import ij.gui.ShapeRoi;
import ij.gui.Wand;
import ij.io.FileSaver;
import ij.io.RoiDecoder;
import ij.io.RoiEncoder;
import ij.measure.Calibration;
import ij.measure.Measurements;
import ij.process.ByteProcessor;
import ij.process.ImageProcessor;
import ij.process.ImageStatistics;
import ij.process.ShortProcessor;
import java.io.BufferedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;
import java.util.zip.ZipOutputStream;

public class ImageJOracle {
    static final double PIXEL = 0.25;
    static final String UNIT = "micron";
    static final int DOTS = 260, FEW = 5;
    static final int SLICES = 3, FRAMES = 2;
    static final List<String> STACKS = Arrays.asList("stack", "hyperstack");

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "make":
                make(new File(args[1]));
                break;
            case "read":
                read(new File(args[1]), new File(args[2]), new File(args[3]), new File(args[4]));
                break;
            default:
                fail("usage: make FOLDER, or read OBJECTS LABELS32 SHAPES MASKS");
        }
        System.exit(0); // ImageJ leaves threads behind
    }

    static void fail(String message) {
        System.err.println("error: " + message);
        System.exit(1);
    }

    static void expect(boolean holds, String message) {
        if (!holds) {
            fail(message);
        }
    }

    // ---- make ----

    static void make(File folder) throws Exception {
        File images = new File(folder, "images");
        images.mkdirs();
        save(new ImagePlus("one", rings(97, 71, 0, false)), new File(images, "one.tif"));
        ImageStack stack = new ImageStack(83, 61);
        for (int slice = 0; slice < 3; slice++) {
            stack.addSlice(rings(83, 61, slice, true));
        }
        save(new ImagePlus("stack", stack), new File(images, "stack.tif"));
        File many = new File(folder, "many");
        many.mkdirs();
        ImageStack dots = new ImageStack(3 * DOTS, 3 * DOTS);
        dots.addSlice(dots(FEW));
        dots.addSlice(dots(DOTS));
        save(new ImagePlus("dots", dots), new File(many, "dots.tif"));
        File shapes = new File(folder, "shapes"), filled = new File(folder, "filled");
        new File(shapes, "images").mkdirs();
        new File(shapes, "masks").mkdirs();
        filled.mkdirs();
        for (Map.Entry<String, List<Roi>> kind : shapes().entrySet()) {
            save(new ImagePlus("image", rings(80, 60, 0, false)), new File(shapes, "images/" + kind.getKey() + ".tif"));
            saveZip(kind.getValue(), new File(shapes, "masks/" + kind.getKey() + ".zip"));
            ByteProcessor mask = new ByteProcessor(80, 60);
            mask.setValue(255);
            for (Roi roi : kind.getValue()) {
                mask.fill(roi);
            }
            new FileSaver(new ImagePlus("mask", mask)).saveAsPng(new File(filled, kind.getKey() + ".png").getPath());
        }
        makeStacks(shapes, filled);
    }

    /** Stacks with regions on some of their images: by the number of an image, and by slice and frame of a hyperstack. */
    static void makeStacks(File shapes, File filled) throws Exception {
        for (String name : STACKS) {
            boolean isHyper = name.equals("hyperstack");
            ImageStack stack = new ImageStack(80, 60);
            for (int i = 0; i < SLICES * FRAMES; i++) {
                stack.addSlice(rings(80, 60, i, false));
            }
            ImagePlus image = new ImagePlus(name, stack);
            image.setDimensions(1, isHyper ? SLICES : SLICES * FRAMES, isHyper ? FRAMES : 1);
            image.setOpenAsHyperStack(isHyper);
            List<Roi> regions = new ArrayList<>();
            for (int i = 0; i <= SLICES * FRAMES; i++) {
                regions.add(new Roi(2 + 10 * i, 3 + i, 7, 9)); // the first is everywhere
                if (i > 0 && isHyper) {
                    regions.get(i).setPosition(1, (i - 1) % SLICES + 1, (i - 1) / SLICES + 1);
                } else {
                    regions.get(i).setPosition(i);
                }
            }
            if (isHyper) { // on one slice of all frames, and on all slices of one frame
                regions.add(new Roi(5, 30, 11, 9));
                regions.get(regions.size() - 1).setPosition(0, 2, 0);
                regions.add(new Roi(30, 30, 11, 9));
                regions.get(regions.size() - 1).setPosition(0, 0, 2);
            }
            save(image, new File(shapes, "images/" + name + ".tif"));
            saveZip(regions, new File(shapes, "masks/" + name + ".zip"));
            fillStack(image, regions, name, filled);
        }
    }

    /** The masks that ImageJ makes of the regions, as it reads them again, for each image that it shows them on. */
    static void fillStack(ImagePlus image, List<Roi> regions, String name, File filled) throws Exception {
        for (int i = 1; i <= image.getStackSize(); i++) {
            int[] place = image.convertIndexToPosition(i);
            ByteProcessor mask = new ByteProcessor(80, 60);
            mask.setValue(255);
            for (Roi region : regions) {
                ByteArrayOutputStream bytes = new ByteArrayOutputStream();
                new RoiEncoder(bytes).write(region);
                Roi roi = new RoiDecoder(bytes.toByteArray(), "region").getRoi();
                int c = roi.getCPosition(), z = roi.getZPosition(), t = roi.getTPosition();
                boolean isHere = roi.getPosition() > 0 ? roi.getPosition() == i
                    : (c == 0 || c == place[0]) && (z == 0 || z == place[1]) && (t == 0 || t == place[2]);
                if (isHere) {
                    mask.fill(roi);
                }
            }
            String file = String.format("%s_%03d.png", name, i - 1);
            new FileSaver(new ImagePlus("mask", mask)).saveAsPng(new File(filled, file).getPath());
        }
    }

    /** Blobs and rings that a network of any quality finds something in. */
    static ImageProcessor rings(int width, int height, int phase, boolean is16) {
        ImageProcessor ip = is16 ? new ShortProcessor(width, height) : new ByteProcessor(width, height);
        for (int y = 0; y < height; y++) {
            for (int x = 0; x < width; x++) {
                double wave = Math.sin((x + 3 * phase) / 3.0) * Math.sin(y / 4.0 + phase);
                ip.set(x, y, (int) ((128 + 100 * wave) * (is16 ? 16 : 1)));
            }
        }
        return ip;
    }

    /** Single pixels, three apart, in so many rows: with all rows more of them than 16 bits count. */
    static ImageProcessor dots(int rows) {
        ImageProcessor ip = new ByteProcessor(3 * DOTS, 3 * DOTS);
        for (int y = 0; y < 3 * DOTS; y++) {
            for (int x = 0; x < 3 * DOTS; x++) {
                ip.set(x, y, isDot(x, y, rows) ? 255 : 0);
            }
        }
        return ip;
    }

    static boolean isDot(int x, int y, int rows) {
        return x % 3 == 1 && y % 3 == 1 && y < 3 * rows;
    }

    static void save(ImagePlus image, File file) {
        Calibration calibration = image.getCalibration();
        calibration.pixelWidth = calibration.pixelHeight = PIXEL;
        calibration.setUnit(UNIT);
        FileSaver saver = new FileSaver(image);
        expect(image.getStackSize() > 1 ? saver.saveAsTiffStack(file.getPath()) : saver.saveAsTiff(file.getPath()),
            "ImageJ cannot write " + file);
    }

    static Map<String, List<Roi>> shapes() {
        Map<String, List<Roi>> kinds = new LinkedHashMap<>();
        kinds.put("rectangle", Arrays.asList(new Roi(3, 4, 20, 11), new Roi(60, 40, 40, 40)));
        kinds.put("rounded", Arrays.asList(new Roi(5, 6, 40, 30, 14)));
        kinds.put("oval", Arrays.asList(new OvalRoi(5, 6, 30, 30), new OvalRoi(40, 8, 31, 20), new OvalRoi(4, 44, 9, 3)));
        List<Roi> ovals = new ArrayList<>();
        for (int width = 1, x = 1; width <= 10; x += width + 1, width++) {
            for (int height = 1, y = 1; height <= 8; y += height + 1, height++) {
                ovals.add(new OvalRoi(x, y, width, height));
            }
        }
        kinds.put("ovals", ovals);
        kinds.put("between", Arrays.asList(new Roi(3.4, 4.6, 20.3, 11.7), new OvalRoi(40.3, 8.6, 30.5, 20.2)));
        int[] xs = {10, 60, 70, 35, 12, 30}, ys = {5, 9, 50, 20, 55, 15};
        kinds.put("polygon", Arrays.asList(new PolygonRoi(xs, ys, 6, Roi.POLYGON)));
        kinds.put("freehand", Arrays.asList(new PolygonRoi(xs, ys, 6, Roi.FREEROI)));
        float[] fx = {10.3f, 60.7f, 70.2f, 35.4f, 12.8f}, fy = {5.6f, 9.1f, 50.9f, 22.2f, 55.4f};
        kinds.put("subpixel", Arrays.asList(new PolygonRoi(fx, fy, 5, Roi.POLYGON)));
        ByteProcessor blob = new ByteProcessor(80, 60);
        blob.setValue(255);
        blob.fill(new OvalRoi(10, 10, 30, 22));
        blob.fill(new Roi(30, 20, 35, 5));
        Wand wand = new Wand(blob);
        wand.autoOutline(20, 20, 255, 255);
        kinds.put("traced", Arrays.asList(new PolygonRoi(wand.xpoints, wand.ypoints, wand.npoints, Roi.TRACED_ROI)));
        ShapeRoi ring = new ShapeRoi(new Roi(8, 7, 50, 40)).not(new ShapeRoi(new Roi(20, 15, 12, 9)));
        kinds.put("composite", Arrays.asList(ring.or(new ShapeRoi(new Roi(65, 50, 8, 6)))));
        ShapeRoi curved = new ShapeRoi(new OvalRoi(8, 7, 50, 40)).not(new ShapeRoi(new OvalRoi(20, 15, 12, 9)));
        float[] ties = {0.5f, 8.5f, 8.5f, 0.5f}, tiesBelow = {0.5f, 0.5f, 4.5f, 4.5f};
        kinds.put("ties", Arrays.asList(new PolygonRoi(ties, tiesBelow, 4, Roi.POLYGON)));
        kinds.put("curved", Arrays.asList(curved));
        return kinds;
    }

    static void saveZip(List<Roi> regions, File file) throws Exception {
        try (ZipOutputStream zip = new ZipOutputStream(new BufferedOutputStream(new FileOutputStream(file)))) {
            RoiEncoder encoder = new RoiEncoder(zip);
            for (int i = 0; i < regions.size(); i++) {
                zip.putNextEntry(new ZipEntry(String.format("%04d.roi", i)));
                encoder.write(regions.get(i));
            }
        }
    }

    // ---- read ----

    static void read(File objects, File labels32, File made, File masks) throws Exception {
        int regions = 0, archives = 0;
        File[] files = objects.listFiles();
        Arrays.sort(files);
        for (File file : files) {
            if (file.getName().endsWith("_rois.zip")) {
                regions += checkObjects(objects, file.getName().replace("_rois.zip", ""));
                archives++;
            }
        }
        expect(archives == 2 && regions >= 2, objects + ": " + regions + " regions in " + archives + " archives test little");
        int most = check32(labels32);
        int shapes = 0;
        for (String kind : shapes().keySet()) {
            checkMask(kind, new File(made, "filled/" + kind + ".png"), new File(masks, kind + "_mask.png"));
            shapes++;
        }
        for (String name : STACKS) {
            for (int i = 0; i < SLICES * FRAMES; i++) {
                String image = String.format("%s_%03d", name, i);
                checkMask(image, new File(made, "filled/" + image + ".png"), new File(masks, image + "_mask.png"));
            }
        }
        System.out.println("ImageJ " + ImageJ.VERSION + " read " + regions + " regions of objects and a label image of " + most
            + " objects as we wrote them; " + shapes + " kinds of its own regions, and those of a stack and a hyperstack, are filled as it fills them");
    }

    static void checkCalibration(ImagePlus image, File file) {
        Calibration c = image.getCalibration();
        expect(Math.abs(c.pixelWidth - PIXEL) < 1e-6 && Math.abs(c.pixelHeight - PIXEL) < 1e-6 && isMicron(c.getUnit()),
            file + ": ImageJ reads a pixel size of " + c.pixelWidth + "x" + c.pixelHeight + " " + c.getUnit());
    }

    static boolean isMicron(String unit) {
        return Arrays.asList("micron", "um", "\u00b5m", "\u03bcm").contains(unit);
    }

    static ImagePlus open(File file) {
        ImagePlus image = IJ.openImage(file.getPath());
        expect(image != null, file + ": ImageJ cannot open it");
        return image;
    }

    /** Regions, label image and table of one image or stack against each other; gives the number of regions. */
    static int checkObjects(File folder, String name) throws Exception {
        File archive = new File(folder, name + "_rois.zip");
        ImagePlus labels = open(new File(folder, name + "_instances.tif"));
        expect(labels.getBitDepth() == 16, name + ": labels are read with " + labels.getBitDepth() + " bits");
        checkCalibration(labels, new File(folder, name + "_instances.tif"));
        List<String> lines = Files.readAllLines(new File(folder, name + "_objects.csv").toPath());
        List<String> header = Arrays.asList(lines.get(0).split(","));
        List<Roi> regions = openZip(archive);
        expect(regions.size() == lines.size() - 1,
            archive + ": " + regions.size() + " regions for " + (lines.size() - 1) + " rows");
        for (int i = 0; i < regions.size(); i++) {
            String[] row = lines.get(i + 1).split(",");
            Roi roi = regions.get(i);
            String where = archive + ", row " + (i + 1) + " (" + roi.getName() + "): ";
            int id = Integer.parseInt(row[header.indexOf("id")]);
            String slice = row[header.indexOf("slice")];
            int place = slice.isEmpty() ? 0 : Integer.parseInt(slice) + 1;
            expect(roi.getPosition() == place, where + "its place is " + roi.getPosition() + ", not " + place);
            int left = pixels(row, header, "bbox_left"), top = pixels(row, header, "bbox_top");
            int right = pixels(row, header, "bbox_right"), bottom = pixels(row, header, "bbox_bottom");
            expect(roi.getBounds().equals(new java.awt.Rectangle(left, top, right - left, bottom - top)),
                where + "its box is " + roi.getBounds());
            ImageProcessor ip = labels.getStack().getProcessor(Math.max(place, 1));
            ip.setRoi(roi);
            ImageStatistics inside = ImageStatistics.getStatistics(ip, Measurements.AREA + Measurements.MEAN, labels.getCalibration());
            double area = Double.parseDouble(row[header.indexOf("area")]);
            long own = 0, all = 0;
            for (int y = top; y < bottom; y++) {
                for (int x = left; x < right; x++) {
                    boolean isOwn = ip.get(x, y) == id;
                    own += isOwn && roi.contains(x, y) ? 1 : 0;
                    all += isOwn ? 1 : 0;
                }
            }
            expect(own == all && Math.abs(own * PIXEL * PIXEL - area) < 1e-9,
                where + own + " of " + all + " pixels of the object lie inside, the table says an area of " + area);
            // Without holes in it ImageJ's own Measure is the table's row.
            if (inside.pixelCount == own) {
                expect(Math.abs(inside.area - area) < 1e-9 && inside.mean == id, where + "ImageJ measures " + inside);
            } else {
                expect(inside.pixelCount > own, where + inside.pixelCount + " pixels inside, of " + own);
            }
        }
        return regions.size();
    }

    static int pixels(String[] row, List<String> header, String column) {
        double value = Double.parseDouble(row[header.indexOf(column)]) / PIXEL;
        expect(value == Math.rint(value), column + " is no whole number of pixels: " + value);
        return (int) value;
    }

    static List<Roi> openZip(File file) throws Exception {
        List<Roi> regions = new ArrayList<>();
        try (ZipInputStream zip = new ZipInputStream(new FileInputStream(file))) {
            for (ZipEntry entry = zip.getNextEntry(); entry != null; entry = zip.getNextEntry()) {
                ByteArrayOutputStream bytes = new ByteArrayOutputStream();
                zip.transferTo(bytes);
                Roi roi = new RoiDecoder(bytes.toByteArray(), entry.getName()).getRoi();
                expect(roi != null, file + ": ImageJ cannot decode " + entry.getName());
                regions.add(roi);
            }
        }
        return regions;
    }

    /** The dots, counted row by row: few in the first slice, in the second so many that both are written in 32 bits. */
    static int check32(File file) {
        ImagePlus image = open(file);
        expect(image.getStackSize() == 2, file + ": read with " + image.getStackSize() + " slices");
        expect(image.getBitDepth() == 32, file + ": read with " + image.getBitDepth() + " bits");
        checkCalibration(image, file);
        int label = 0;
        for (int slice = 1; slice <= 2; slice++) {
            ImageProcessor ip = image.getStack().getProcessor(slice);
            label = 0;
            for (int y = 0; y < 3 * DOTS; y++) {
                for (int x = 0; x < 3 * DOTS; x++) {
                    int expected = isDot(x, y, slice == 1 ? FEW : DOTS) ? ++label : 0;
                    expect(ip.getf(x, y) == expected,
                        file + ", slice " + slice + ": (" + x + ", " + y + ") is " + ip.getf(x, y) + ", not " + expected);
                }
            }
        }
        return label;
    }

    static void checkMask(String kind, File theirs, File ours) {
        ImageProcessor a = open(theirs).getProcessor(), b = open(ours).getProcessor();
        expect(a.getWidth() == b.getWidth() && a.getHeight() == b.getHeight(), ours + " has another size");
        int different = 0, filled = 0;
        String first = "";
        for (int y = 0; y < a.getHeight(); y++) {
            for (int x = 0; x < a.getWidth(); x++) {
                filled += a.get(x, y) > 0 ? 1 : 0;
                if ((a.get(x, y) > 0) != (b.get(x, y) > 0)) {
                    different++;
                    first = first.isEmpty() ? "(" + x + ", " + y + ")" : first;
                }
            }
        }
        expect(different == 0, kind + ": " + different + " pixels differ of " + filled + " that ImageJ fills, first at " + first);
    }
}
